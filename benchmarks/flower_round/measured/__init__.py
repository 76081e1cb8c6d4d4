"""An app that trains nothing, so that what is timed is the round itself."""
