"""Texts cut into what is counted: words, and single characters of scripts that part no words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vidapt.metrics.text import words

_SCRIPTS_WITHOUT_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_PIECE = re.compile(f"[{_SCRIPTS_WITHOUT_SPACES}]|[^{_SCRIPTS_WITHOUT_SPACES}]+")

MOST_LETTERS = 1 << 16
"""Of a text that is looked at; no label of a clip is as long."""


def pieces(text: str) -> list[str]:
    """Words in lower case; of Chinese, Japanese and Thai characters."""
    return list(_cut(text[:MOST_LETTERS]))


def _cut(text: str) -> Iterator[str]:
    for word in words(text):
        yield from _PIECE.findall(word)


def shown(text: str, most: int = 60) -> str:
    """The beginning of a text, as a reason quotes it."""
    text = " ".join(text.split())
    return repr(text if len(text) <= most else f"{text[: most - 1].rstrip()}…")
