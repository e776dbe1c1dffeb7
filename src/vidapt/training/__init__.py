"""Stages: what is trained, on which batches, and how nothing is lost when it stops."""
