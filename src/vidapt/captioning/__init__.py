"""Captions for folders of clips, exactly one row each."""
