"""A text's clauses, each of which can be borne out by a clip or not.

The rule is plain, so that anybody can foresee it. Sentences end at `.`, `!`, `?` or `;` behind a word of
three letters (so that abbreviations do not end one), at their full-width forms, and at line ends. Within an
English sentence a new clause begins at `then`, `but`, `while`, `before`, `after`, `until` and `whereas`, and
at `and`, where at least three words stand on both sides (four around an `and` without a comma, which more
often joins two things than two clauses). Sentences of other languages are not divided further.
"""

from __future__ import annotations

import re

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
            before, behind = text[bounds[-1] : cut.start()], text[cut.start() : end]
            comma = before.endswith(",")
            plain = not comma and re.match(r"\s+and\b(?!\s+then\b)", behind, re.IGNORECASE)
            least = _LEAST_AND if plain else _LEAST
            if min(words_in(_bare(before)), words_in(_bare(behind))) >= least:
                bounds.append(cut.start())
        found += zip(bounds, [*bounds[1:], end], strict=True)
    return found


def words_in(text: str) -> int:
    """How many words a text has."""
    return sum(1 for _ in _WORD.finditer(text))


def _bare(clause: str) -> str:
    """A clause without the word that joins it to the one before."""
    return _JOINING.sub("", clause, count=1) if _JOINING.match(clause) else clause


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
