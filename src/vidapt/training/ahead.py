"""What the next steps will see, decoded while the model computes this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip, Frames

Item = tuple[Clip, int]
"""A clip, and how many clips are read together in its conversation."""

Decoded = tuple[Clip, Frames | BrokenClip]


class Ahead:
    """Decodes the clips of a stage's steps in their order.

    Args:
        items: Clips of a step, counted from 0.
        steps: How many there are.
        decode: Decodes clips in the background, in order.
    """

    def __init__(
        self,
        items: Callable[[int], Sequence[Item]],
        steps: int,
        decode: Callable[[Iterable[Clip]], Iterator[Decoded]],
    ) -> None:
        self._items, self._steps, self._decode = items, steps, decode
        self._next = -1
        self._stream: Iterator[Decoded] = iter(())

    def step(self, number: int) -> list[tuple[Item, Frames | BrokenClip]]:
        """Each clip of a step once, with its frames or what is wrong with it; best asked for in order."""
        if number != self._next:
            self.close()
            self._next, self._stream = number, self._decode(self._clips(number))
        self._next += 1
        return [(item, next(self._stream)[1]) for item in self._unique(number)]

    def close(self) -> None:
        """Stop decoding."""
        close: Any = getattr(self._stream, "close", None)
        if close is not None:
            close()
        self._stream, self._next = iter(()), -1

    def _clips(self, first: int) -> Iterator[Clip]:
        for number in range(first, self._steps):
            yield from (clip for clip, _ in self._unique(number))

    def _unique(self, number: int) -> list[Item]:
        return list(dict.fromkeys(self._items(number)))
