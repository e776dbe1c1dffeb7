"""Footage in and out: probe, choose frames, decode only those, write."""
