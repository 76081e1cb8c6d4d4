"""From a gradient, or a sum of them, back to what was trained on."""
