"""Clips that are alike among very many, without holding each against every other.

A frame's sketch says on which side of `BITS` random planes its signature lies. Two frames whose
signatures have the cosine c agree in a share of 1 - acos(c)/pi of the bits (Charikar 2002, "Similarity
estimation techniques from rounding algorithms"). Of each sketch `BANDS` codes of chosen bits are made: frames
of one code are candidates, those that agree in further bits first (Bawa et al. 2005, "LSH forest"). What is
found is held against each other as all pairs are, so that no pair is told that is not alike; one that is only
just alike may be missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vidapt.curation.likeness import ALIKE, Signatures, like_pairs, near

FEW = 4096
"""So many clips are held each against every other."""

BITS, BANDS = 512, 48
_CODE = 64
_FEWEST_BITS, _MOST_BITS = 12, 26
_NEXT = 16
"""Frames of one code that each is held against, beside the first of them all."""

_AGREE = 0.78
"""Share of bits in which frames agree that are held against each other: 0.857 at the cosine 0.9, less five
standard deviations of as many bits."""

_ENOUGH, _TRIES = 32, 256
"""Clips that one is known to be like, and that it is held against, before no more are looked for."""

_AT_ONCE = 1024
_SEED = 20_240_501


def alike(found: Signatures, above: float = ALIKE) -> Iterator[tuple[int, int, float]]:
    """Pairs of clips that are alike, with how much: all where there are few, else as this module has it.

    Args:
        found: Signatures of all clips.
        above: Least likeness.
    """
    return near(found, above) if len(found.clips) <= FEW else iter(by_bands(found, above))


def by_bands(found: Signatures, above: float = ALIKE) -> list[tuple[int, int, float]]:
    """Pairs of clips that are alike, in the order of `near`; the time grows as N log N, a clip takes 0.6 kB.

    Args:
        found: Signatures of all clips.
        above: Least likeness; below 0.9 ever more pairs are missed.
    """
    count, each = found.frames.shape[:2]
    if not count:
        return []
    sketches = _sketches(found.frames)
    bits = min(_MOST_BITS, max(_FEWEST_BITS, math.ceil(math.log2(max(2, count * each)))))
    rng = np.random.default_rng(_SEED)
    tested, tries, partners = np.empty(0, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    pairs: list[tuple[int, int, float]] = []
    for _ in range(BANDS):
        codes = _codes(sketches, rng.permutation(BITS)[:_CODE])
        for left, right in _neighbours(codes, bits):
            near_enough = _agree(sketches, left, right)
            keys = _keys(left[near_enough] // each, right[near_enough] // each, count)
            wanted = (partners < _ENOUGH) & (tries < _TRIES)
            keys = np.setdiff1d(keys[wanted[keys % count]], tested, assume_unique=True)
            tested = np.union1d(tested, keys)
            np.add.at(tries, keys % count, 1)
            for first, second, like in like_pairs(found, keys // count, keys % count, above):
                pairs.append((first, second, like))
                partners[second] += 1
    return sorted(pairs)


def _sketches(frames: np.ndarray) -> np.ndarray:
    """[BITS / 8, N * F] uint8: bits of every frame, byte by byte."""
    count, each, width = frames.shape
    planes = np.random.default_rng(_SEED).standard_normal((width, BITS)).astype(np.float32)
    sketches = np.empty((BITS // 8, count * each), np.uint8)
    for start in range(0, count, _AT_ONCE):
        rows = np.asarray(frames[start : start + _AT_ONCE], np.float32).reshape(-1, width)
        packed = np.packbits(rows @ planes > 0, axis=1)
        sketches[:, start * each : start * each + len(rows)] = packed.T
    return sketches


def _codes(sketches: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """[N * F] uint64 of some bits, the first of which counts most."""
    codes = np.zeros(sketches.shape[1], np.uint64)
    for bit in chosen:
        codes <<= np.uint64(1)
        codes |= (sketches[bit >> 3] >> np.uint8(7 - (bit & 7))) & np.uint8(1)
    return codes


def _neighbours(codes: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of frames whose codes begin alike: each with some that follow it, and with the first."""
    order = np.argsort(codes, kind="stable")
    heads = codes[order] >> np.uint64(_CODE - bits)
    begins = np.flatnonzero(np.r_[True, heads[1:] != heads[:-1]])
    firsts = np.minimum.reduceat(order, begins)
    yield np.repeat(firsts, np.diff(np.r_[begins, len(order)])), order
    for step in range(1, _NEXT + 1):
        same = np.flatnonzero(heads[step:] == heads[:-step])
        if not len(same):
            return
        yield order[same], order[same + step]


def _agree(sketches: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[M] bool: whether frames agree in enough bits."""
    differ = np.zeros(len(left), np.uint16)
    for byte in sketches:
        differ += np.bitwise_count(byte[left] ^ byte[right])
    return np.asarray(differ <= (1 - _AGREE) * BITS)


def _keys(left: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """Pairs of two clips as numbers, each once, the earlier clip first."""
    low, high = np.minimum(left, right), np.maximum(left, right)
    return np.unique((low * count + high)[low != high])
