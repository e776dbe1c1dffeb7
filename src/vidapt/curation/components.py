"""Clips that hang together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vidapt.nouns import Clip, Sample

_Key = tuple[Path, float, float | None]


class Components:
    """Connected components of clips (union-find with halved paths; Tarjan 1975).

    Args:
        clips: All of them, each alone at first.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._number = {_key(clip): at for at, clip in enumerate(clips)}
        self._above = list(range(len(clips)))

    def tie(self, left: Clip, right: Clip) -> bool:
        """Tie two clips together; returns whether they were apart."""
        a, b = self._root(self._number[_key(left)]), self._root(self._number[_key(right)])
        self._above[max(a, b)] = min(a, b)
        return a != b

    def tie_equal(self, names: Mapping[Clip, str]) -> int:
        """Tie clips of equal names together; returns how many ties were new."""
        first: dict[str, Clip] = {}
        return sum(self.tie(first.setdefault(name, clip), clip) for clip, name in names.items())

    def of(self, samples: Sequence[Sample]) -> list[int]:
        """The component of every sample; text alone is one of its own."""
        alone = iter(range(len(self._above), len(self._above) + len(samples)))
        return [
            self._root(self._number[_key(sample.media[0])]) if sample.media else next(alone)
            for sample in samples
        ]

    def _root(self, at: int) -> int:
        while self._above[at] != at:
            self._above[at] = self._above[self._above[at]]
            at = self._above[at]
        return at


def _key(clip: Clip) -> _Key:
    return clip.path, clip.start_s, clip.end_s
