"""Twenty hospitals in Flower, with private rounds."""
