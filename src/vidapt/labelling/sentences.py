"""A text's sentences, each of which can be true or false by itself."""

from __future__ import annotations

import re

_PAUSE = re.compile(r"(?<=\w{3})[.!;]+(?:\s+|$)|\n+")
"""Ends a sentence, unless it may be that of an abbreviation."""


def sentences(statement: str) -> list[str]:
    """The sentences of a statement, each with one full stop at its end."""
    pieces = (piece.strip(" \t\n.!;") for piece in _PAUSE.split(statement))
    return [f"{piece}." for piece in pieces if piece] or ["."]
