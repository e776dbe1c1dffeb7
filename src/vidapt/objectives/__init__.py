"""Training objectives: where a model and a batch become a loss."""
