"""Simulated domains whose truth is known exactly."""
