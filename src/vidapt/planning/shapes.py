"""Which shapes clips have, by their headers alone; of very many clips, by those of some."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vidapt.errors import ConfigError
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
        side_of: Side of the square that a clip's frames are resized to; None leaves them as they are.

    Attributes:
        whole: Whether every clip was looked at.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        policy: Policy,
        most: int = LOOKED_AT,
        *,
        side_of: Callable[[Clip], int | None] = lambda clip: None,
    ) -> None:
        self._side_of = side_of
        step = max(1, -(-len(clips) // most))
        self.whole = step == 1
        found = {clip: shape_of(clip, policy) for clip in clips[::step]}
        self._known = {clip: shape for clip, shape in found.items() if shape is not None}
        self._some = list(self._known.values())
        self._places = {clip: place for place, clip in enumerate(clips)}

    def __call__(self, item: Item) -> Shape:
        """A clip's shape, or that of one that stands for it.

        Raises:
            ConfigError: If no clip at all can be read.
        """
        clip, _ = item
        side, (size, moments) = self._side_of(clip), self._shape(clip)
        return (size if side is None else (side, side)), moments

    def _shape(self, clip: Clip) -> Shape:
        if clip in self._known:
            return self._known[clip]
        return self._some[self._places.get(clip, 0) % len(self._some)] if self._some else _nothing()


def _nothing() -> Shape:
    raise ConfigError(
        "data", "no clip can be read", "`vidapt data check --decode` tells what is wrong with each"
    )
