"""Ten practices say how old their patients are, together."""
