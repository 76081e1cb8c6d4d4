"""Ten clients in Flower, with a torch model and private rounds."""
