"""What a model sees and what it makes up: evaluation and its report."""
