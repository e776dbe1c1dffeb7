"""A text's clauses, each of which can be borne out by a clip or not.

The rule is plain, so that anybody can foresee it. Sentences end at `.`, `!`, `?` or `;` behind a word of
three letters (so that abbreviations do not end one), at their full-width forms, and at line ends. Within an
English sentence a new clause begins at `then`, `but`, `while`, `before`, `after`, `until` and `whereas`, and
at `and`, where at least three words stand on both sides (four around an `and` without a comma, which more
often joins two things than two clauses). Sentences of other languages are not divided further.
"""

from __future__ import annotations

import re
from itertools import islice

Span = tuple[int, int]
"""First letter, and the one behind the last."""

_QUOTES = r"[\"'’”»)\]]*"
_SENTENCE = re.compile(rf"(?<=\w{{3}}){_QUOTES}[.!?;]+{_QUOTES}(?:\s+|$)|[。！？；]+\s*|\n+")
_STRONG = r"(?:and\s+)?(?:then|but|while|before|after|until|whereas)\b"
_CUT = re.compile(
    rf"(?<=,)\s+(?=(?:{_STRONG}|and\b))|(?<=\w)\s+(?={_STRONG})|(?<=\w)\s+(?=and\b)", re.IGNORECASE
)
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_LEAST, _LEAST_AND = 3, 4
_PLAIN_AND = re.compile(r"\s+and\b(?!\s+then\b)", re.IGNORECASE)
_JOINING = re.compile(rf"\s*(?:{_STRONG}|and\b)", re.IGNORECASE)


def sentence_spans(text: str) -> list[Span]:
    """Sentences, each with the white space behind it; together they are the text.

    A piece without a word belongs to the sentence before it, or to the first.
    """
    ends = [found.end() for found in _SENTENCE.finditer(text)]
    return _with_words(text, [0, *ends, len(text)])


def clauses(text: str) -> list[Span]:
    """Clauses in their order; together they are the text. A text without a word is one.

    Args:
        text: An answer.
    """
    found: list[Span] = []
    for start, end in sentence_spans(text):
        bounds = [start]
        for cut in _CUT.finditer(text, start, end):
            least = _LEAST_AND if _plain_and(text, cut.start(), end) else _LEAST
            if _says(text, bounds[-1], cut.start(), least) and _says(text, cut.start(), end, least):
                bounds.append(cut.start())
        found += zip(bounds, [*bounds[1:], end], strict=True)
    return found


def words_in(text: str) -> int:
    """How many words a text has."""
    return sum(1 for _ in _WORD.finditer(text))


def _plain_and(text: str, at: int, end: int) -> bool:
    """Whether an `and` without a comma in front and without `then` behind stands there."""
    return not text.startswith(",", at - 1) and _PLAIN_AND.match(text, at, end) is not None


def _says(text: str, start: int, end: int, least: int) -> bool:
    """Whether a stretch has so many words beside the one that joins it to what stands before.

    No more are counted than it takes: a text without a full stop may be very long.
    """
    joined = _JOINING.match(text, start, end)
    words = _WORD.finditer(text, start if joined is None else joined.end(), end)
    return sum(1 for _ in islice(words, least)) == least


def _with_words(text: str, bounds: list[int]) -> list[Span]:
    """Stretches between bounds, those without a word joined to their neighbours."""
    found: list[Span] = []
    begins = 0
    for end in bounds[1:]:
        if end == begins:
            continue
        if _WORD.search(text, begins, end):
            found.append((begins, end))
            begins = end
        elif found:
            found[-1] = (found[-1][0], end)
            begins = end
    return found or ([(0, len(text))] if text else [])
