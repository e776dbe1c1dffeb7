"""Answers in which a teacher says that it will not or cannot, in the words that models use.

A phrase counts where a sentence begins with it, and not in quotation marks, so that a film in which somebody
says "I can't help you" keeps its caption. Source: phrases of `refusals.yaml`, as assistants word their
refusals; the approach is that of the refusal filters of instruction data (Xu et al. 2023, arXiv 2304.12244).
"""

from __future__ import annotations

import importlib.resources
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vidapt.cleaning.checks._words import MOST_LETTERS, shown
from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop
from vidapt.parts import PartConfig
from vidapt.yaml_lines import parse_yaml

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


class Part:
    """Sets refusals aside."""

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            shipped: Look for the phrases that come with vidapt.
            also: Further phrases; `…` stands for up to six words.
        """

        shipped: bool = True
        also: tuple[Annotated[str, Field(min_length=3, max_length=200)], ...] = ()

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        del given
        self.cfg = cfg
        self._phrases = _pattern((*(_shipped() if cfg.shipped else ()), *cfg.also))

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge each label by itself."""
        for label in labels:
            found = self._phrases.search(_plain(label.text))
            yield KEEP if found is None else drop(f"refuses: {shown(found[1])}", again=True)


def _plain(text: str) -> str:
    """As phrases are written: see the head of `refusals.yaml`."""
    text = unicodedata.normalize("NFC", text[:MOST_LETTERS]).translate(_APOSTROPHES).lower().strip()
    if text[:1] == text[-1:] == '"' and text.count('"') == 2:  # all of it is what the teacher said
        text = text[1:-1]
    text = text.replace(",", "").replace("can not", "cannot")
    for long, short in _CONTRACTED.items():
        text = text.replace(long, short)
    return text


@cache
def _shipped() -> tuple[str, ...]:
    file = Path(str(importlib.resources.files("vidapt.cleaning.checks") / "refusals.yaml"))
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


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
