"""Scores of single answers and captions, and their intervals."""
