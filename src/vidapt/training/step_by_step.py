"""Filling a store while steps are taken, where clips are too many to be looked at before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from vidapt.nouns import Clip
from vidapt.training.ahead import Item
from vidapt.training.cache import TensorStore

_AHEAD = 32
"""Steps whose clips are decoded together, so that shards are of some size and all workers have work."""


class Prepare(Protocol):
    """`Footage.prepare`."""

    def __call__(self, items: Sequence[Item], progress: Callable[[int, int], None]) -> dict[Clip, str]:
        """Fill the store; returns clips that cannot be used, with their reasons."""
        ...


class StepByStep:
    """Puts the clips of the next steps into a store when one of a step's is missing there.

    Args:
        items: Clips of a step, counted from 0.
        steps: How many there are.
        store: What is there.
        key: Of a clip.
        prepare: Fills the store.
    """

    def __init__(
        self,
        items: Callable[[int], Sequence[Item]],
        steps: int,
        store: TensorStore,
        key: Callable[[Item], str],
        prepare: Prepare,
    ) -> None:
        self._items, self._steps, self._store, self._key, self._prepare = items, steps, store, key, prepare
        self._broken: dict[Item, str] = {}

    def step(self, number: int) -> dict[Clip, str]:
        """See that a step's clips are there; the broken ones among them, with their reasons."""
        items = self._items(number)
        if self._missing(items):
            block = range(number, min(number + _AHEAD, self._steps))
            wanted = list(dict.fromkeys(item for step in block for item in self._missing(self._items(step))))
            found = self._prepare(wanted, lambda done, total: None)
            self._broken |= {item: found[item[0]] for item in wanted if item[0] in found}
        return {item[0]: self._broken[item] for item in items if item in self._broken}

    def _missing(self, items: Sequence[Item]) -> list[Item]:
        return [item for item in items if item not in self._broken and self._key(item) not in self._store]
