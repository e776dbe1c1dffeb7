"""Gauges of finished models, and what they say of results that come later."""
