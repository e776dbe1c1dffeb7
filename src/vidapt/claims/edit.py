"""A text without some of its clauses, as far as a rule can leave a sentence whole.

What joins a clause to one that is gone goes with it, the sentence keeps its end and its capital. A clause
that borrows its subject from one that is gone ("it hits the red ball, then stops near the rail") is left
without one: no rule that reads words alone can mend that.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Sequence

from vidapt.claims.clauses import Span, sentence_spans

_JOIN = re.compile(
    r"[\s,;:–—-]*(?:(?:and|then|but|while|before|after|until|whereas)\b[\s,]*)*", re.IGNORECASE
)
_LOOSE_END = re.compile(r"[\s,;:–—-]+$")
_END = re.compile(r"[.!?。！？;；…]+[\"'’”»)\]]*\s*$|\s*$")
_STOP = re.compile(r"[.!?。！？;；…][\"'’”»)\]]*$")
_LETTER = re.compile(r"\w")


def without(text: str, spans: Sequence[Span], gone: Collection[int]) -> str:
    """A text without some clauses, their openings included.

    Args:
        text: The text.
        spans: Its clauses in their order; what stands between them belongs to the one before.
        gone: Indices of those to be left out.

    Returns:
        What is left; empty if nothing is.
    """
    return replaced(text, spans, gone, "")


def replaced(text: str, spans: Sequence[Span], gone: Collection[int], sentence: str) -> str:
    """The same with a sentence in the place of each sentence of which nothing is left.

    Args:
        text: The text.
        spans: Its clauses in their order.
        gone: Indices of those to be left out.
        sentence: Written once where several sentences in a row are gone; empty writes none.
    """
    if not gone:
        return text
    pieces: list[str] = []
    sentences = _sentences(text, spans)
    for (start, end), members in zip(sentences, _members(sentences, spans), strict=True):
        kept = [place for place in members if place not in gone]
        if members and not kept:
            if sentence and (not pieces or pieces[-1].strip() != sentence):
                pieces.append(sentence + (" " if end < len(text) else ""))
        elif len(kept) == len(members):
            pieces.append(text[start:end])
        else:
            pieces.append(_mended(text, start, end, _stretches(spans, members, start, end), kept, members))
    left = "".join(pieces)
    return left.strip() if _LETTER.search(left) else ""


def _sentences(text: str, spans: Sequence[Span]) -> list[Span]:
    """Sentences, joined where a clause reaches over their border."""
    begins = [a for a, _ in spans]
    found: list[Span] = []
    for start, end in sentence_spans(text):
        before = bisect_left(begins, start)
        if found and before and spans[before - 1][1] > start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _members(sentences: Sequence[Span], spans: Sequence[Span]) -> list[list[int]]:
    """Of each sentence, the clauses that begin in it."""
    begins = [a for a, _ in spans]
    bounds = [(bisect_left(begins, start), bisect_left(begins, end)) for start, end in sentences]
    return [[*range(*some)] for some in bounds]


def _stretches(spans: Sequence[Span], members: Sequence[int], start: int, end: int) -> dict[int, Span]:
    """Of each clause of a sentence, its letters up to where the next one begins."""
    starts = [start, *(spans[place][0] for place in members[1:])]
    return dict(zip(members, zip(starts, [*starts[1:], end], strict=True), strict=True))


def _mended(
    text: str, start: int, end: int, stretches: dict[int, Span], kept: Sequence[int], members: Sequence[int]
) -> str:
    """A sentence of some of its clauses."""
    whole = text[start:end]
    closing = _END.search(whole)
    assert closing is not None
    said = "".join(text[slice(*stretches[place])] for place in kept)
    if kept[-1] != members[-1]:
        said = _LOOSE_END.sub("", said)
        said += "" if _STOP.search(said) else closing.group()
    if kept[0] != members[0]:
        said = said[_JOIN.match(said).end() :]  # type: ignore[union-attr]
        first = _LETTER.search(whole)
        if first is not None and first.group().isupper() and said:
            said = said[0].upper() + said[1:]
        said = whole[: len(whole) - len(whole.lstrip())] + said
    return said
