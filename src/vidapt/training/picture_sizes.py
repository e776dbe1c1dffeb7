"""Groups of clips by the size of their pictures, which their headers tell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from vidapt.errors import BrokenClip, ConfigError
from vidapt.nouns import Clip, Frames
from vidapt.recipe import Sizes
from vidapt.resolutions._resize import resize
from vidapt.training.data import ClipSamples
from vidapt.training.streamed_clips import StreamedClips
from vidapt.video import probe


class PictureSizes:
    """Which group clips belong to, and to what their frames are resized.

    Args:
        sizes: What the recipe says; None does nothing.
        groups: Of clips, the group of the sample that they belong to; of others their own size decides.
    """

    def __init__(self, sizes: Sizes | None, groups: Mapping[Clip, int] | None = None) -> None:
        self._sizes, self._groups = sizes, groups or {}

    def side(self, clip: Clip) -> int | None:
        """Side of the square that a clip's frames are resized to; None leaves them as they are."""
        unify = None if self._sizes is None else self._sizes.unify
        if unify != "group":
            return unify
        assert self._sizes is not None
        group = self._groups.get(clip)
        return self._sizes.groups[group_of([clip], self._sizes.groups) if group is None else group]

    def resized(self, clip: Clip, frames: Frames) -> Frames:
        """A clip's frames in their size."""
        side = self.side(clip)
        if side is None:
            return frames
        pixels = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)
        square = resize(pixels, (side, side), "bicubic").permute(0, 2, 3, 1).contiguous()
        return replace(frames, pixels=square.numpy())


def grouped_sizes(sizes: Sizes | None, clips: Sequence[ClipSamples]) -> PictureSizes:
    """Groups of a stage's clips, as far as their frames have to be resized by them."""
    if sizes is None or sizes.unify != "group" or isinstance(clips, StreamedClips):
        return PictureSizes(sizes)
    groups: dict[Clip, int] = {}
    for one in clips:
        group = group_of(one.media, sizes.groups)
        for clip in one.media:
            groups.setdefault(clip, group)
    return PictureSizes(sizes, groups)


def groups_of(sizes: Sizes, clips: Sequence[ClipSamples], where: str) -> list[int]:
    """The group of every clip.

    Raises:
        ConfigError: If a group has none, naming it.
    """
    found = [group_of(one.media, sizes.groups) for one in clips]
    empty = [side for index, side in enumerate(sizes.groups) if index not in set(found)]
    if empty:
        counts = {side: found.count(index) for index, side in enumerate(sizes.groups)}
        told = ", ".join(f"{side}: {count}" for side, count in counts.items())
        raise ConfigError(
            where, f"no clip is in the group {empty[0]} ({told})", "leave the group out, or add such clips"
        )
    return found


def group_of(media: Sequence[Clip], groups: Sequence[int]) -> int:
    """Index of the group whose side is nearest, as a ratio, to the median of the clips'; 0 for text alone.

    Clips that cannot be read do not count; they are told of elsewhere.
    """
    sides = [side for side in map(side_of, media) if side]
    if not sides:
        return 0
    middle = math.log(statistics.median(sides))
    return min(range(len(groups)), key=lambda at: abs(math.log(groups[at]) - middle))


def side_of(clip: Clip) -> float:
    """Side of a square as large as a clip's frames, in pixels; 0 if it cannot be read."""
    try:
        described = probe(clip.path, rate=clip.rate)
    except BrokenClip:
        return 0.0
    return math.sqrt(described.width * described.height)
