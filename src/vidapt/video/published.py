"""Which frames published code takes of a clip, by their numbers, on which published results depend.

Frames are counted from 0 in the order shown. Source: PLLaVA's code (Xu et al. 2024; `get_index` of its
benchmarks and demo, and `middle` of its training code), qwen-vl-utils from 0.0.11 on (`smart_nframes`), and
transformers' `Qwen3VLVideoProcessor`, `SmolVLMVideoProcessor` and `MiniCPMV4_6VideoProcessor`
(`sample_frames`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_PAIR = 2
"""Frames that Qwen2-VL makes one slice of; its utilities choose whole slices only."""


_END_S, _TENTH_S = 1, 0.1
"""Seconds left out at the ends of long clips, and from one frame to the next that is looked at in them."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the rules know of a clip.

    Attributes:
        frames: How many the file has, at least one.
        rate: Frames per second; 0 for a still.
        start_s: Where the part used begins, in seconds.
        end_s: Where it ends; None is the end of the file.
    """

    frames: int
    rate: float
    start_s: float = 0.0
    end_s: float | None = None


def segments(count: int, clip: Stretch) -> tuple[int, ...]:
    """Frames as PLLaVA's benchmarks take them, and its demo, which knows whole clips only.

    With s = (last - first) / count they are floor(s / 2) + round(s i) behind the first.
    """
    last = clip.frames - 1
    if clip.end_s is not None:
        last = min(round(clip.end_s * clip.rate), last)
    first = min(max(0, round(clip.start_s * clip.rate)), last)
    step = (last - first) / count
    # Python rounds halves to even, as the original's numpy does.
    return tuple(first + math.floor(step / 2) + round(step * index) for index in range(count))


def middles(count: int, clip: Stretch) -> tuple[int, ...]:
    """Frames as PLLaVA's training code takes them where it leaves nothing to chance.

    The middle of each of `count` stretches of whole frames; of a clip with fewer frames all, and then the
    last one again and again.
    """
    first = min(int(clip.start_s * clip.rate), clip.frames - 1)
    length = left = clip.frames - first
    if clip.end_s is not None:
        length = max(1, min(int((clip.end_s - clip.start_s) * clip.rate), left))
    bounds = np.linspace(0, length, min(count, length) + 1).astype(int).tolist()
    found = [first + (low + high - 1) // 2 for low, high in pairwise(bounds)]
    return tuple(found + found[-1:] * (count - len(found)))


def pairs(rate: float, least: int, cap: int, clip: Stretch) -> tuple[int, ...]:
    """Frames as Qwen2-VL's utilities take them: an even number, from the first to the last.

    Args:
        rate: Frames per second to take.
        least: The fewest, rounded up to pairs.
        cap: The most, rounded down to pairs.
        clip: What they are taken of.

    Returns:
        One frame where the part has only one, which the original refuses.
    """
    first, last = _whole(clip)
    held = last - first + 1
    if held < _PAIR:
        return (first,)
    fewest, most = math.ceil(least / _PAIR) * _PAIR, min(cap, held) // _PAIR * _PAIR
    count = min(max(held / clip.rate * rate, fewest), most)
    return _spread(first, last, math.floor(count / _PAIR) * _PAIR)


def evenly(rate: float, least: int, cap: int, clip: Stretch) -> tuple[int, ...]:
    """Frames as Qwen3-VL's processor takes them: as many as the rate gives, from the first to the last.

    Args:
        rate: Frames per second to take.
        least: The fewest, if there are as many.
        cap: The most.
        clip: What they are taken of.
    """
    first, last = _whole(clip)
    held = last - first + 1
    wanted = int(held / clip.rate * rate) if clip.rate else 1
    count = min(max(wanted, least), cap, held)
    return tuple(np.linspace(first, last, count).round().astype(int).tolist())


def ends_off(rate: float, least: int, cap: int, clip: Stretch) -> tuple[int, ...]:
    """Frames as SmolVLM2's processor takes them: of a clip too long for the cap without a second at each end.

    Args:
        rate: Frames per second to take.
        least: Unused; one is the fewest.
        cap: The most.
        clip: What they are taken of.
    """
    del least
    first, last = _whole(clip)
    held = last - first + 1
    seconds = held / clip.rate if clip.rate else 0.0
    count = max(1, min(round(rate * seconds), cap))
    begin, end = 0, held - 1
    if seconds - 2 * _END_S > cap * rate:
        begin, end = int(_END_S * clip.rate), min(int(held - _END_S * clip.rate), held - 1)
    if begin >= end:
        begin, end = 0, held - 1
    found = np.unique(np.linspace(begin, end, count, dtype=int))
    return tuple(first + number for number in found.tolist())


def full_seconds(rate: float, least: int, cap: int, clip: Stretch) -> tuple[int, ...]:
    """Frames as MiniCPM-V 4.6's processor takes them: of every second that begins, or `cap` tenths of one.

    Args:
        rate: Frames per second to take.
        least: Unused; one is the fewest.
        cap: The most.
        clip: What they are taken of.
    """
    del least
    first, last = _whole(clip)
    held = last - first + 1
    seconds = held / clip.rate if clip.rate else 0.0
    if seconds * rate <= cap:
        count = max(1, math.ceil(seconds * rate))
        return tuple(first + min(int(index * clip.rate / rate), held - 1) for index in range(count))
    tenths = [
        min(int(round(at * _TENTH_S, 1) * clip.rate), held - 1) for at in range(int(seconds / _TENTH_S))
    ]
    if len(tenths) > cap:
        tenths = [tenths[at] for at in np.linspace(0, len(tenths) - 1, cap, dtype=int)]
    return tuple(first + number for number in tenths)


def _whole(clip: Stretch) -> tuple[int, int]:
    """The first and the last frame that lie within the part used."""
    last = clip.frames - 1
    first = min(math.ceil(clip.start_s * clip.rate), last)
    if clip.end_s is not None:
        last = min(math.floor(clip.end_s * clip.rate), last)
    return first, max(first, last)


def _spread(first: int, last: int, count: int) -> tuple[int, ...]:
    """`count` whole numbers from `first` to `last`, as torch spreads and rounds them in 32-bit floats.

    torch counts from the nearer end, and rounds once after multiplying and adding, which is done here in
    64 bits. In films of an hour 64 bits to the end would name other frames.
    """
    step = float(np.float32(last - first) / np.float32(count - 1))
    near = np.arange(count)
    exact = np.where(near < count // 2, first + step * near, last - step * (count - 1 - near))
    return tuple(np.rint(exact.astype(np.float32)).astype(int).tolist())
