"""A clip's frames changed, to see whether a model needs them as they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from vidapt.digests import seed_of
from vidapt.nouns import Clip, Frames


def shuffled(clip: Clip, frames: Frames) -> Frames:
    """The same frames in another order, at the moments there were; the order follows from the clip's id."""
    count = len(frames)
    if count < 2:
        return frames
    order = np.random.default_rng(seed_of("frames", clip.id)).permutation(count)
    if (order == np.arange(count)).all():
        order = np.roll(order, 1)
    return replace(frames, pixels=frames.pixels[order])


def one_frame(clip: Clip, frames: Frames) -> Frames:
    """The middle frame in the place of every other, so that nothing moves and as much is read."""
    del clip
    middle = len(frames) // 2
    return replace(frames, pixels=np.repeat(frames.pixels[middle : middle + 1], len(frames), axis=0))


CHANGES: Mapping[str, Callable[[Clip, Frames], Frames]] = {
    "shuffled_frames": shuffled,
    "one_frame": one_frame,
}
"""What can be done to a clip's frames, by name."""
