"""Each attack on a stage of its own, beside its control."""
