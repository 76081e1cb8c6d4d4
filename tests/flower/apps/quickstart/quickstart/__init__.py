"""quickstart: a Flower / scikit-learn app."""
