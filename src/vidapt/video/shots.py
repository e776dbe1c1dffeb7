"""Where a film cuts from one shot to the next, from a few tiny frames of it.

Two frames a second are compared first. Only where they differ are all frames between looked at: a hard cut is
one leap among small steps, and a camera that moves, a fade or a dissolve is many steps of about one size. So
hard cuts are found and gradual changes are not; nor are shots shorter than `LEAST_S`, such as flashes. Every
frame is seen through the pool, whose workers may die, and never more than a few are held.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip, Frames
from vidapt.progress import Reporter, silent
from vidapt.video.choose import Every, Policy
from vidapt.video.pool import decode_ahead

SIZE = (18, 32)
"""Height and width of the frames compared: noise and small motion are averaged away."""

LEAST_S = 1.0
"""No shot is shorter."""

_COARSE = Every(rate=2.0, cap=4096)
_FINE = Every(rate=60.0, cap=64)
_WINDOW_S = 30.0
"""Seconds decoded in one go, well below what one clip may cost."""

_DIFFERENT = 10.0
"""Mean difference of two frames' pixels, of 255, from which they may belong to two shots: it only decides
where to look closely. Shots that differ by less, such as two of one dark room, are taken for one."""

_LEAP = 3.0
"""A cut is at least so many times the median step between the frames around it."""

_Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Unseen:
    """A part of a film in which shots could not be looked for, and why."""

    start_s: float
    end_s: float
    reason: str


@dataclass
class Shots:
    """What was found of one film.

    Attributes:
        cuts: Seconds from the first frame at which a new shot begins, ascending, without 0.
        unseen: Parts that could not be looked at.
    """

    cuts: list[float] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Window:
    film: int
    clip: Clip

    @property
    def end_s(self) -> float:
        return cast("float", self.clip.end_s)


def find_shots(
    films: Sequence[tuple[Clip, float]], *, workers: int = 2, report: Reporter = silent
) -> list[Shots]:
    """Find the hard cuts of films.

    The time it takes grows with the films' length, and little with the number of cuts.

    Args:
        films: Each with its length in seconds.
        workers: Decoding processes; 0 decodes in this one.
        report: Told how many windows were looked at.
    """
    found = [Shots() for _ in films]
    between = list(_changes(films, found, workers, report))
    for window, frames in _decoded(between, _FINE, workers):
        shots, length = found[window.film], films[window.film][1]
        if isinstance(frames, BrokenClip):
            shots.unseen.append(Unseen(window.clip.start_s, window.end_s, frames.reason))
            continue
        cut = _cut_in(frames)
        last = shots.cuts[-1] if shots.cuts else 0.0
        if cut is not None and last + LEAST_S <= cut <= length - LEAST_S:
            shots.cuts.append(cut)
    return found


def _changes(
    films: Sequence[tuple[Clip, float]], found: list[Shots], workers: int, report: Reporter
) -> Iterator[_Window]:
    """Half seconds on both sides of which the film looks different, and goes on doing so."""
    windows = [window for film, (clip, length) in enumerate(films) for window in _windows(film, clip, length)]
    for film, samples in _runs(windows, found, workers, report):
        clip = films[film][0]
        step = 1 / _COARSE.rate
        for moment in _changed(samples):
            end = moment + step + 1 / _FINE.rate
            yield _Window(film, Clip(clip.id, clip.path, moment, end, clip.rate))


def _windows(film: int, clip: Clip, length: float) -> Iterator[_Window]:
    start = 0.0
    while start == 0.0 or start < length:
        yield _Window(film, Clip(clip.id, clip.path, start, min(start + _WINDOW_S, length), clip.rate))
        start += _WINDOW_S


def _runs(
    windows: Sequence[_Window], found: list[Shots], workers: int, report: Reporter
) -> Iterator[tuple[int, Iterator[tuple[float, _Pixels]]]]:
    """Samples of films, one run for all windows of a film that follow one another without a gap."""
    stream = deque[tuple[float, _Pixels]]()
    decoded = enumerate(_decoded(windows, _COARSE, workers), start=1)
    ahead = next(decoded, None)

    def samples(film: int) -> Iterator[tuple[float, _Pixels]]:
        nonlocal ahead
        while ahead is not None and ahead[1][0].film == film:
            number, (window, frames) = ahead
            report("look for shots", number, len(windows))
            ahead = next(decoded, None)
            if isinstance(frames, BrokenClip):
                found[film].unseen.append(Unseen(window.clip.start_s, window.end_s, frames.reason))
                return
            start = window.clip.start_s
            stream.extend((start + at / _COARSE.rate, pixels) for at, pixels in enumerate(frames.pixels))
            while stream:
                yield stream.popleft()

    while ahead is not None:
        film = ahead[1][0].film
        yield film, samples(film)


def _changed(samples: Iterator[tuple[float, _Pixels]]) -> Iterator[float]:
    """Moments of samples behind which another shot may begin.

    What looks as before one sample later was a flash, or a shot too short to count.
    """
    last = deque[tuple[float, _Pixels]](maxlen=4)
    for sample in samples:
        last.append(sample)
        if len(last) == 4 and _is_change(last[0][1], last[1][1], last[2][1], last[3][1]):
            yield last[1][0]
        elif len(last) == 3 and _is_change(None, last[0][1], last[1][1], last[2][1]):
            yield last[0][0]
    if len(last) > 2 and _is_change(last[-3][1], last[-2][1], last[-1][1], None):
        yield last[-2][0]


def _is_change(before: _Pixels | None, one: _Pixels, two: _Pixels, after: _Pixels | None) -> bool:
    pairs = [(one, two)]
    pairs += [] if before is None else [(before, two)]
    pairs += [] if after is None else [(one, after)]
    return all(difference(a, b) >= _DIFFERENT for a, b in pairs)


def _cut_in(frames: Frames) -> float | None:
    """The moment at which the one leap among the steps from frame to frame is; None if there is none."""
    keep = np.flatnonzero(np.diff(frames.times_s, prepend=-1.0) > 0)
    pixels, times = frames.pixels[keep], frames.times_s[keep]
    steps = [difference(a, b) for a, b in pairwise(pixels)]
    if not steps:
        return None
    at = int(np.argmax(steps))
    others = steps[:at] + steps[at + 1 :]
    usual = float(np.median(others)) if others else 0.0
    return float(times[at + 1]) if steps[at] >= max(_DIFFERENT, _LEAP * usual) else None


def difference(one: _Pixels, other: _Pixels) -> float:
    """Mean difference of two pictures' pixels, from 0 to 255."""
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


def _decoded(
    windows: Sequence[_Window], policy: Policy, workers: int
) -> Iterator[tuple[_Window, Frames | BrokenClip]]:
    stream = decode_ahead((window.clip for window in windows), policy, size=SIZE, workers=workers)
    with contextlib.closing(cast("Generator[tuple[Clip, Frames | BrokenClip], None, None]", stream)):
        for window, (_, frames) in zip(windows, stream, strict=True):
            yield window, frames
