"""Samples as token ids, kept small: data sets have millions of tokens, and a step reads a few thousand."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, overload

from vidapt.models.text import Encoded, Piece

_REMEMBERED = 50_000
"""Stretches of text whose tokens are remembered: marks and questions come again and again."""


class Encodings(Sequence[Encoded]):
    """Encoded samples with one prefix, in four bytes a token where tuples of numbers take forty.

    Args:
        prefix: Of all of them, as `Encoded` has it.
        early: Likewise.
    """

    def __init__(self, prefix: tuple[Piece, ...], early: tuple[int, ...]) -> None:
        self._prefix, self._early = prefix, early
        self._ids, self._answer, self._ends = array("i"), bytearray(), array("q")
        self._weights: dict[int, float] = {}
        self._each: dict[int, array[float]] = {}

    def append(self, encoded: Encoded) -> None:
        """Add a sample; it has the same prefix."""
        self._ids.extend(encoded.ids)
        self._answer.extend(encoded.answer)
        if encoded.weight != 1.0:
            self._weights[len(self._ends)] = encoded.weight
        if encoded.each:
            self._each[len(self._ends)] = array("d", encoded.each)
        self._ends.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...

    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...

    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start, end = self._ends[place - 1] if place else 0, self._ends[place]
        answer = tuple(map(bool, self._answer[start:end]))
        weight = self._weights.get(place, 1.0)
        each = tuple(self._each.get(place, ()))
        return Encoded(self._prefix, tuple(self._ids[start:end]), answer, self._early, weight, each)

    def __iter__(self) -> Iterator[Encoded]:
        return (self[index] for index in range(len(self)))


class Remembering:
    """A tokenizer that remembers what it was asked; all else is the tokenizer's own.

    Args:
        tokenizer: A transformers tokenizer, whose answers do not change meanwhile.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._asked = lru_cache(_REMEMBERED)(tokenizer)

    def __call__(self, text: str, **options: Any) -> Any:
        """As the tokenizer's."""
        return self._asked(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)
