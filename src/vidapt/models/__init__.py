"""Whole models, composed of parts."""
