"""Which clips show nearly the same, whatever their files are called and however they were encoded.

A clip's signature is a few of its frames, small and grey, without what stands still in it: under a fixed
camera all clips share the background, and it is what moves that tells them apart. A clip in which nothing
moves is known by its picture as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vidapt.errors import BrokenClip
from vidapt.files import exists
from vidapt.nouns import Clip
from vidapt.progress import Reporter
from vidapt.video import Uniform, decode_ahead

FRAMES, SIDE = 8, 24
ALIKE = 0.9
"""Mean over a clip's frames of the likeness to the other's nearest; from it on, clips are near-duplicates."""

_STILL = 1.5
"""Levels of grey; what changes less is noise."""

_AT_ONCE = 64
_FEWEST = 3
"""Of fewer clips the mean says nothing: two are always each other's opposite."""

_GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Signatures:
    """Of clips that can be decoded.

    Attributes:
        clips: The clips.
        frames: [N, FRAMES, SIDE * SIDE] of unit length each: float32, or float16 in a file.
        moves: [N] bool: whether they are of what moves.
    """

    clips: Sequence[Clip]
    frames: np.ndarray
    moves: np.ndarray


@dataclass(frozen=True)
class Embedded:
    """Clips as a model has them.

    Attributes:
        clips: The clips.
        vectors: [N, D] float32.
    """

    clips: Sequence[Clip]
    vectors: np.ndarray


def signatures(clips: Sequence[Clip], workers: int, report: Reporter) -> Signatures:
    """Decode some frames of every clip; broken and missing ones are left out."""
    present = [clip for clip in clips if exists(clip.path)]
    kept: list[Clip] = []
    rows: list[np.ndarray] = []
    moves: list[bool] = []
    decoded = decode_ahead(present, Uniform(count=FRAMES), size=(SIDE, SIDE), workers=workers)
    for done, (clip, frames) in enumerate(decoded, 1):
        report("compare clips", done, len(present))
        if not isinstance(frames, BrokenClip):
            row, moving = signature(frames.pixels)
            kept.append(clip)
            rows.append(row)
            moves.append(moving)
    shape = (0, FRAMES, SIDE * SIDE)
    return Signatures(kept, np.stack(rows) if rows else np.zeros(shape, np.float32), np.array(moves, bool))


def signature(pixels: np.ndarray) -> tuple[np.ndarray, bool]:
    """Signature of a clip, and whether it is of what moves.

    Args:
        pixels: [T, SIDE, SIDE, 3] uint8.
    """
    grey = (pixels.astype(np.float32) @ _GREY).reshape(len(pixels), -1)
    moved = grey - np.median(grey, axis=0)
    moving = len(grey) > 1 and bool(np.sqrt((moved**2).mean()) > _STILL)
    rows = moved if moving else grey - grey.mean(axis=1, keepdims=True)
    rows = rows[np.arange(FRAMES) * len(rows) // FRAMES]  # of a clip with fewer frames, some come again
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6), moving


def near(found: Signatures, above: float = ALIKE) -> Iterator[tuple[int, int, float]]:
    """Pairs of clips that are alike, with how much.

    Args:
        found: Signatures of all clips.
        above: Least likeness, of at most 1.
    """
    for start in range(0, len(found.clips), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        like = likeness(found.frames[block], found.frames[start:])
        like[found.moves[block][:, None] != found.moves[start:][None]] = 0
        for row, column in zip(*np.nonzero(like >= above), strict=True):
            if column > row:
                yield start + int(row), start + int(column), round(float(like[row, column]), 3)


def like_pairs(
    found: Signatures, left: np.ndarray, right: np.ndarray, above: float
) -> Iterator[tuple[int, int, float]]:
    """Of given pairs of clips those that are alike, with how much.

    Args:
        found: Signatures of all clips.
        left: [M] numbers of clips.
        right: [M] numbers of the others.
        above: Least likeness.
    """
    same = found.moves[left] == found.moves[right]
    left, right = left[same], right[same]
    for at in range(0, len(left), _AT_ONCE):
        one, other = left[at : at + _AT_ONCE], right[at : at + _AT_ONCE]
        # float32 as in `likeness`, whatever they are kept in.
        a, b = (np.asarray(found.frames[some], np.float32) for some in (one, other))
        every = a @ b.transpose(0, 2, 1)
        like = np.minimum(every.max(axis=2).mean(axis=1), every.max(axis=1).mean(axis=1))
        for place in np.flatnonzero(like >= above):
            yield int(one[place]), int(other[place]), round(float(like[place]), 3)


def near_vectors(found: Embedded, above: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of clips whose vectors point the same way, with their cosine.

    What all clips have in common, such as a fixed camera, is taken off first: their mean.

    Args:
        found: Vectors of all clips.
        above: Least cosine, of at most 1.
    """
    if len(found.clips) < _FEWEST:
        return
    rows = found.vectors - found.vectors.mean(0)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    for start in range(0, len(rows), _AT_ONCE):
        like = rows[start : start + _AT_ONCE] @ rows[start:].T
        for row, column in zip(*np.nonzero(like >= above), strict=True):
            if column > row:
                yield start + int(row), start + int(column), round(float(like[row, column]), 3)


def likeness(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How alike clips are: each frame with the nearest of the other clip's, whichever way it is less.

    Args:
        left: [N, F, P] signatures.
        right: [M, F, P] signatures.

    Returns:
        [N, M], at most 1.
    """
    n, frames, width = left.shape
    every = left.reshape(-1, width) @ right.reshape(-1, width).T
    pairs = every.reshape(n, frames, len(right), frames)
    forth, back = pairs.max(axis=3).mean(axis=1), pairs.max(axis=1).mean(axis=2)
    return np.asarray(np.minimum(forth, back))


def nearest(
    held: Mapping[Clip, str], known: Mapping[Clip, str], found: Signatures
) -> list[tuple[Clip, Clip, float]]:
    """For every clip of one set, the clip of another that is most like it."""
    rows = {clip: at for at, clip in enumerate(found.clips)}
    left = [rows[clip] for clip in held if clip in rows]
    right = [rows[clip] for clip in known if clip in rows]
    if not left or not right:
        return []
    pairs: list[tuple[Clip, Clip, float]] = []
    for at in range(0, len(left), _AT_ONCE):
        some = left[at : at + _AT_ONCE]
        like = likeness(found.frames[some], found.frames[right])
        like[found.moves[some][:, None] != found.moves[right][None]] = 0
        for row, best in enumerate(like.argmax(axis=1)):
            clips = found.clips[some[row]], found.clips[right[best]]
            pairs.append((*clips, round(float(like[row, best]), 3)))
    return sorted(pairs, key=lambda one: -one[2])
