"""Whether an answer is one of those that count as right."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_END = ".!?,;:。、"
_PAUSE = re.compile(rf"[{_END}]+(?= )")
_QUOTES = frozenset({'""', "''", "``", "“”", "‘’", "«»", "„“", "「」"})


def normalise(text: str) -> str:
    """Return `text` without what does not change an answer.

    That is Unicode NFKC, lower case, single spaces, no punctuation at the end or before a space, no quotes
    around the whole. What is inside a word stays, so "1.5" and "don't" survive. A text of punctuation alone
    keeps some of it.

    >>> normalise(' "No,  the RED ball." ')
    'no the red ball'
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    text = " ".join(_PAUSE.sub("", " ".join(text.split())).split())
    while (shorter := _peel(text)) and shorter != text:
        text = shorter
    return text


def _peel(text: str) -> str:
    text = text.rstrip(_END).rstrip()
    return text[1:-1].strip() if len(text) > 1 and text[0] + text[-1] in _QUOTES else text


def is_match(prediction: str, accept: Sequence[str]) -> bool:
    """Whether a prediction equals an accepted answer after `normalise`; an empty one never does.

    Raises:
        ValueError: If no answer is accepted, which is a mistake in the labels, or `accept` is one text.
    """
    if isinstance(accept, str) or not accept:
        raise ValueError(f"accepted answers must be a list of at least one, got {accept!r}")
    found = normalise(prediction)
    return found != "" and found in {normalise(answer) for answer in accept}
