"""Moments that only a file's packets tell: key frames, cheap frames, and those where much happens.

Packets are read and none is decoded. What a coder spends on a picture that it predicts from others is what it
could not predict: motion, and whatever is new.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidapt.video.choose import ByPackets, Keyframes, Motion, Near

_BIN_S = 0.4
"""Sizes of pictures are averaged over so many seconds: of some kinds they are larger than of others."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A picture as it lies in the file.

    Attributes:
        time_s: When it is shown, in seconds from the first frame.
        is_key: Whether decoding can start at it.
        size: Bytes.
        order: Its place among the packets.
    """

    time_s: float
    is_key: bool
    size: int
    order: int


def moments_of(policy: ByPackets, coded: Sequence[Coded], start: float, end: float) -> tuple[float, ...]:
    """Say which moments a policy takes of the part from `start` to `end` (seconds) of a file.

    Args:
        policy: Which.
        coded: All pictures of the file in the order they are shown.
        start: Seconds from the first frame.
        end: Likewise.
    """
    if isinstance(policy, Keyframes):
        return _keys(policy, coded, start, end)
    inside = [one for one in coded if start <= one.time_s < end]
    count = policy.count if policy.pad else min(policy.count, max(1, len(inside)))
    if not inside or end <= start:
        return (start,) * count
    return _near(count, coded, start, end) if isinstance(policy, Near) else _busy(policy, count, inside, end)


def _keys(policy: Keyframes, coded: Sequence[Coded], start: float, end: float) -> tuple[float, ...]:
    """The key frames, at most `cap` of them, evenly chosen, the first and last among them."""
    found = [one.time_s for one in coded if one.is_key and start <= one.time_s <= end] or [start]
    if len(found) <= policy.cap:
        return tuple(found)
    last = len(found) - 1
    return tuple(found[round(index * last / max(1, policy.cap - 1))] for index in range(policy.cap))


def _near(count: int, coded: Sequence[Coded], start: float, end: float) -> tuple[float, ...]:
    """Of the frame at each even moment and those less than half an interval off, the cheapest to get to."""
    step = (end - start) / count
    keys = sorted(one.order for one in coded if one.is_key)
    shown = [one.time_s for one in coded]
    reached = -1
    chosen = []
    for index in range(count):
        middle = start + (index + 0.5) * step
        first, last = bisect_right(shown, start + index * step), bisect_right(shown, middle)
        while last < len(shown) and shown[last] < start + (index + 1) * step:
            last += 1
        exact = coded[max(0, bisect_right(shown, middle) - 1)]
        best = min(
            [*coded[first:last], exact],
            key=lambda one: (_cost(one.order, keys, reached), abs(one.time_s - middle)),
        )
        reached = max(reached, best.order)
        chosen.append(best.time_s)
    return tuple(chosen)


def _cost(order: int, keys: Sequence[int], reached: int) -> int:
    """Packets that have to be decoded to get to one, where all are decoded up to `reached`."""
    at = bisect_right(keys, order) - 1
    entry = keys[at] if at >= 0 else 0
    return max(0, order - max(entry, reached + 1) + 1)


def _busy(policy: Motion, count: int, inside: Sequence[Coded], end: float) -> tuple[float, ...]:
    """Even moments of a clock that runs fast where pictures are larger than is usual in the file."""
    times = np.array([one.time_s for one in inside])
    gaps = np.diff(times, append=end)
    even = gaps / gaps.sum()
    busy = gaps * _activity(inside, times)
    share = even if not busy.sum() else policy.calm * even + (1 - policy.calm) * busy / busy.sum()
    clock = np.concatenate([[0.0], np.cumsum(share)])
    wanted = (np.arange(count) + 0.5) / count * clock[-1]
    return tuple(np.interp(wanted, clock, np.append(times, end)).tolist())


def _activity(inside: Sequence[Coded], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N]: by how much the predicted pictures around each one exceed the usual size, in times; 0 or more."""
    bins = ((times - times[0]) / _BIN_S).astype(int)
    predicted = np.array([not one.is_key for one in inside])
    sizes = np.array([one.size for one in inside], dtype=np.float64)
    counts = np.bincount(bins, predicted, bins[-1] + 1)
    mean = np.bincount(bins, predicted * sizes, bins[-1] + 1) / np.maximum(counts, 1)
    known = mean[counts > 0]
    usual = float(np.median(known)) if len(known) else 0.0
    return np.maximum(mean / usual - 1, 0.0)[bins] if usual else np.zeros(len(times))
