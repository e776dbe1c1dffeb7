"""Stages that align a video tower with texts: pairs, batches that keep look-alikes apart, and measures."""
