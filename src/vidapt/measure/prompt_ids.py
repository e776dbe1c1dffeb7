"""Prompts as two readers have them, and where they first differ.

A family has one token (or a few) for whatever a tower sees, repeated once for each visual token; here there
is none. So both sides are put down as text tokens and runs of visual tokens, each known by its length.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from vidapt.errors import readable
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip

_AROUND = 6
"""Pieces shown on each side of a difference."""

_PAD_KEYS = (
    "image_token_id",
    "video_token_id",
    "image_token_index",
    "video_token_index",
    "img_context_token_id",
)
"""What configurations call the ids that stand for visual tokens."""


@dataclass(frozen=True, slots=True)
class Visual:
    """So many visual tokens in a row."""

    count: int


Piece = int | Visual | None
"""A token of text, visual tokens, or (None) a token that is not told."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two readings part.

    Attributes:
        kind: `prompt` or `answer`.
        at: Number of the first token (of an answer: of the first letter) that differs, from 0.
        ours: What this side has there, with what stands around it.
        theirs: What the server has.
    """

    kind: str
    at: int
    ours: str
    theirs: str

    def line(self) -> str:
        """As a person reads it."""
        unit = "token" if self.kind == "prompt" else "letter"
        return (
            f"{self.kind} differs from {unit} {self.at} on:\n  here:   {self.ours}\n  served: {self.theirs}"
        )


def ours(engine: Engine, seen: Sequence[SeenClip], question: str) -> list[Piece]:
    """What the engine reads before it answers."""
    ids, visual = engine.prompt(seen, question)
    return list(_runs(zip(ids, visual, strict=True)))


def theirs(ids: Sequence[int | None], pads: Collection[int], vocabulary: int) -> list[Piece]:
    """What a server has read.

    Args:
        ids: Its token ids.
        pads: Those that stand for visual tokens; if empty, the one that is repeated the longest is taken.
        vocabulary: Ids from here on are no text: some servers write hashes of what was seen over such tokens.
    """
    chosen = set(pads) or _longest(ids)
    return list(_runs((one, one is not None and (one in chosen or one >= vocabulary)) for one in ids))


def pads_of(engine: Engine) -> set[int]:
    """Ids that stand for visual tokens, as the published configuration says."""
    if engine.model.origin is None:
        return set()
    config = engine.model.origin.read("config.json")
    return {config[key] for key in _PAD_KEYS if type(config.get(key)) is int}


def prompt_difference(one: Sequence[Piece], other: Sequence[Piece], tokenizer: Any) -> Difference | None:
    """Where two prompts first differ; None if they do not."""
    same = _common(one, other)
    if same == len(one) == len(other):
        return None
    at = sum(piece.count if isinstance(piece, Visual) else 1 for piece in one[:same])
    return Difference("prompt", at, _around(one, same, tokenizer), _around(other, same, tokenizer))


def answer_difference(one: str, other: str) -> Difference | None:
    """Where two answers first differ, white space around them aside; None if they do not."""
    one, other = one.strip(), other.strip()
    if one == other:
        return None
    at = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return Difference("answer", at, _excerpt(one, at), _excerpt(other, at))


def _runs(marked: Iterator[tuple[Any, bool]]) -> Iterator[Piece]:
    for visual, group in groupby(marked, key=lambda one: one[1]):
        if visual:
            yield Visual(sum(1 for _ in group))
        else:
            yield from (one for one, _ in group)


def _longest(ids: Sequence[int | None]) -> set[int]:
    runs = [(sum(1 for _ in group), one) for one, group in groupby(ids) if one is not None]
    count, one = max(runs, default=(0, 0))
    return {one} if count > 1 else set()


def _common(one: Sequence[Piece], other: Sequence[Piece]) -> int:
    """How many pieces are equal from the beginning."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b and a is not None and b is not None:
            return at
    return min(len(one), len(other))


def _around(pieces: Sequence[Piece], at: int, tokenizer: Any) -> str:
    before, behind = pieces[max(0, at - _AROUND) : at], pieces[at + 1 : at + 1 + _AROUND]
    lead = "..." if at > _AROUND else ""
    rest = "..." if at + 1 + _AROUND < len(pieces) else ""
    here = _named(pieces[at], tokenizer) if at < len(pieces) else "the end"
    return f"{lead}{_text(before, tokenizer)} [{here}] {_text(behind, tokenizer)}{rest}"


def _named(piece: Piece, tokenizer: Any) -> str:
    if isinstance(piece, int):
        return f"{piece} {_text([piece], tokenizer)!r}"
    return _text([piece], tokenizer)


def _text(pieces: Sequence[Piece], tokenizer: Any) -> str:
    written = []
    for words, group in groupby(pieces, key=lambda piece: isinstance(piece, int)):
        if words:
            written.append(readable(str(tokenizer.decode(list(group), skip_special_tokens=False))))
        else:
            written += [
                f"<{piece.count} visual tokens>" if isinstance(piece, Visual) else "<not told>"
                for piece in group
            ]
    return "".join(written)


def _excerpt(text: str, at: int) -> str:
    start, end = max(0, at - 40), at + 40
    lead, rest = "..." if start else "", "..." if end < len(text) else ""
    return f"{lead}{readable(text[start:at])}[{readable(text[at:end])}]{rest}"
