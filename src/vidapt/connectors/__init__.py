"""Connectors: a tower's features in, tokens for the language model out."""
