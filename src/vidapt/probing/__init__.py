"""What a model's tower and connector hold of what labels say: fact probes."""
