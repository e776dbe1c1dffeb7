"""Which models are worth adapting: a small probe of each on one's own clips, and an order."""
