"""Who was trained on: from losses, from shadow models, from the updates of federated rounds."""
