"""Refusals in the words that models use: whether a text says that somebody will not or cannot."""

from __future__ import annotations

import importlib.resources
import re
import unicodedata
from functools import cache
from pathlib import Path

from vidapt.yaml_lines import parse_yaml

_MOST_LETTERS = 1 << 16
"""Of a text that is looked at; no label of a clip is as long."""

_BEGINS = r"(?:^[\s*#>_-]*|[.!?;。！？；\n]+\s*(?:however\s+|but\s+)?)"
_SOME_WORDS = r"(?:[^\w.!?]+[\w'-]+){0,6}?\W+"
_SOME_LETTERS = r"[^。！？\n]{0,12}?"
_PARTS_WORDS = re.compile(r"[^\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
"""What is not of Chinese, Japanese, Korean or Thai, in which words run into one another or have endings."""

_CONTRACTED = {
    "cannot": "can't",
    "i am ": "i'm ",
    "do not": "don't",
    "will not": "won't",
    "have not": "haven't",
}
_APOSTROPHES = str.maketrans("’‘ʼ`", "''''")


def refusal(text: str, also: tuple[str, ...] = (), *, shipped: bool = True) -> str | None:
    """The phrase by which a text refuses, where a sentence begins with one; None if none does.

    Args:
        text: What was said.
        also: Further phrases; `…` stands for up to six words.
        shipped: Look for those of `refusals.yaml`.
    """
    found = _pattern((*(_shipped() if shipped else ()), *also)).search(_plain(text))
    return None if found is None else found[1]


def _plain(text: str) -> str:
    """As phrases are written: see the head of `refusals.yaml`."""
    text = unicodedata.normalize("NFC", text[:_MOST_LETTERS]).translate(_APOSTROPHES).lower().strip()
    if text[:1] == text[-1:] == '"' and text.count('"') == 2:  # all of it is what the teacher said
        text = text[1:-1]
    text = text.replace(",", "").replace("can not", "cannot")
    for long, short in _CONTRACTED.items():
        text = text.replace(long, short)
    return text


@cache
def _shipped() -> tuple[str, ...]:
    file = Path(str(importlib.resources.files("vidapt.labelling") / "refusals.yaml"))
    return tuple(phrase for phrases in parse_yaml(file)[0].values() for phrase in phrases)


@cache
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """Finds any of them at the beginning of a sentence; nothing to look for matches nothing."""
    either = "|".join(map(_one, sorted(map(_plain, phrases), key=lambda one: (-len(one), one))))
    return re.compile(f"{_BEGINS}({either})" if either else r"(?!)")


def _one(phrase: str) -> str:
    # "aiとして" begins in one script and ends in another.
    parted = all(map(_PARTS_WORDS.match, phrase))
    between = _SOME_WORDS if parted else _SOME_LETTERS
    parts = (r"\s+".join(map(re.escape, part.split())) for part in phrase.split("…"))
    return between.join(parts) + (r"(?!\w)" if parted else "")
