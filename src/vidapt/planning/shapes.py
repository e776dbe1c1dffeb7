"""Which shapes clips have, by their headers alone; of very many clips, by those of some."""

from __future__ import annotations

from collections.abc import Sequence

from vidapt.models.reach import shape_of
from vidapt.nouns import Clip, Moments
from vidapt.training.ahead import Item
from vidapt.video import Policy

LOOKED_AT = 2000
"""Clips whose headers are read at most; they are spread evenly over all."""

Shape = tuple[tuple[int, int], Moments]
"""(height, width) of a file, and the moments at which it is read."""


class Shapes:
    """Shapes of clips.

    Args:
        clips: All of a stage, each once.
        policy: Which frames are read.
        most: Look at no more of them than this.

    Attributes:
        whole: Whether every clip was looked at.
    """

    def __init__(self, clips: Sequence[Clip], policy: Policy, most: int = LOOKED_AT) -> None:
        step = max(1, -(-len(clips) // most))
        self.whole = step == 1
        found = {clip: shape_of(clip, policy) for clip in clips[::step]}
        self._known = {clip: shape for clip, shape in found.items() if shape is not None}
        self._some = list(self._known.values())
        self._places = {clip: place for place, clip in enumerate(clips)}

    def __call__(self, item: Item) -> Shape:
        """A clip's shape, or that of one that stands for it.

        Raises:
            LookupError: If no clip at all can be read.
        """
        clip, _ = item
        if clip in self._known:
            return self._known[clip]
        return self._some[self._places.get(clip, 0) % len(self._some)] if self._some else _nothing()


def _nothing() -> Shape:
    raise LookupError("no clip can be read")
