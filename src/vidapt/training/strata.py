"""Sources and buckets: how often which clips are visited in an epoch, and in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidapt.recipe import DataSource, Mix

_WINDOW = 64
"""Steps whose clips are put in order of length together; more make steps more alike, and less random."""

_TURNS, _SPREAD, _WITHIN = 1 << 41, 1 << 42, 1 << 43
"""Behind the seeds: what a draw is for, so that none is drawn twice."""


@dataclass(frozen=True)
class Stratum:
    """Clips that are visited equally often.

    Attributes:
        clips: Their indices.
        visits: How many visits of them an epoch has.
        bucket: Which others they may share a step with.
        number: Tells strata of a stage apart.
    """

    clips: np.ndarray
    visits: int
    bucket: int = 0
    number: int = 0


def one_stratum(clips: int) -> list[Stratum]:
    """Every clip once."""
    return [Stratum(np.arange(clips), clips)]


def visits_of(mix: Mix, sources: Sequence[DataSource], sizes: Sequence[int]) -> list[int]:
    """How many visits of each source an epoch has.

    Args:
        mix: What decides.
        sources: With their weights.
        sizes: Clips of each; those of a clip that several name are one of the first's.
    """
    weights = [source.weight for source in sources]
    if mix.by == "size":
        return list(sizes)
    if mix.by == "weights":
        return [max(1, round(weight * size)) for weight, size in zip(weights, sizes, strict=True)]
    if mix.by == "temperature":
        # Taken of shares and not of numbers, which a low temperature would make too large.
        most = max(sizes)
        pairs = zip(weights, sizes, strict=True)
        weights = [weight * (size / most) ** (1 / mix.temperature) for weight, size in pairs]
    return shared_out(sum(sizes), weights)


def shared_out(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers that add up to a total, as near to the weights' ratio as can be (largest remainders)."""
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    shares = [math.floor(one) for one in exact]
    left = sorted(range(len(exact)), key=lambda at: (shares[at] - exact[at], at))
    for at in left[: total - sum(shares)]:
        shares[at] += 1
    return shares


def stratified(sources: np.ndarray, buckets: np.ndarray, visits: Sequence[int]) -> list[Stratum]:
    """Strata of clips.

    Args:
        sources: Of every clip, the source it comes from.
        buckets: Of every clip, which others it may share a step with.
        visits: Of every source.
    """
    strata: list[Stratum] = []
    for source, wanted in enumerate(visits):
        members = np.flatnonzero(sources == source)
        present = [int(bucket) for bucket in np.unique(buckets[members])]
        clips = [members[buckets[members] == bucket] for bucket in present]
        counts = shared_out(wanted, [len(some) for some in clips]) if clips else []
        for bucket, some, count in zip(present, clips, counts, strict=True):
            if count:
                strata.append(Stratum(some, count, bucket, len(strata)))
    return strata


class Visits:
    """The visits of a bucket, epoch by epoch.

    Args:
        strata: Those of the bucket.
        seed: Seeds of the run and of the stage.
        size: Clips in a step.
        lengths: Tokens of every clip, where steps are to be of like length.

    Attributes:
        steps: Of an epoch.
    """

    def __init__(
        self, strata: Sequence[Stratum], seed: Sequence[int], size: int, lengths: np.ndarray | None
    ) -> None:
        self._strata, self._seed, self._size, self._lengths = strata, list(seed), size, lengths
        self.steps = math.ceil(sum(one.visits for one in strata) / size)
        self._known: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def epoch(self, number: int) -> np.ndarray:
        """Clips in the order in which an epoch visits them."""
        if self._known[0] != number:
            order = self._mixed(number)
            self._known = (number, order if self._lengths is None else self._alike(order, number))
        return self._known[1]

    def _mixed(self, epoch: int) -> np.ndarray:
        if len(self._strata) == 1 and self._strata[0].visits == len(self._strata[0].clips):
            (one,) = self._strata
            seed = [*self._seed, epoch, *([_TURNS, one.number] if one.number else [])]
            return one.clips[np.random.default_rng(seed).permutation(len(one.clips))]
        clips = np.concatenate([self._turns(one, epoch) for one in self._strata])
        when = np.concatenate([self._spread(one, epoch) for one in self._strata])
        return clips[np.argsort(when, kind="stable")]

    def _turns(self, stratum: Stratum, epoch: int) -> np.ndarray:
        """Its clips in turn: all of them in a new order, again and again, across epochs."""
        first, end = epoch * stratum.visits, (epoch + 1) * stratum.visits
        size = len(stratum.clips)
        rounds = range(first // size, -(-end // size))
        orders = [
            np.random.default_rng([*self._seed, _TURNS, stratum.number, one]).permutation(size)
            for one in rounds
        ]
        start = first - rounds.start * size
        chosen: np.ndarray = stratum.clips[np.concatenate(orders)[start : start + stratum.visits]]
        return chosen

    def _spread(self, stratum: Stratum, epoch: int) -> np.ndarray:
        """Moments of its visits in an epoch from 0 to 1: one in each of equal stretches."""
        rng = np.random.default_rng([*self._seed, _SPREAD, stratum.number, epoch])
        moments: np.ndarray = (np.arange(stratum.visits) + rng.random(stratum.visits)) / stratum.visits
        return moments

    def _alike(self, order: np.ndarray, epoch: int) -> np.ndarray:
        """Visits with those of like length side by side, within windows; steps in random order."""
        assert self._lengths is not None
        bounds = [cut(len(order), self.steps, place) for place in range(self.steps)]
        steps: list[np.ndarray] = []
        for at in range(0, self.steps, _WINDOW):
            some = bounds[at : at + _WINDOW]
            window = order[some[0][0] : some[-1][1]]
            window = window[np.argsort(self._lengths[window], kind="stable")]
            steps += [window[a - some[0][0] : b - some[0][0]] for a, b in some]
        rng = np.random.default_rng([*self._seed, _WITHIN, epoch])
        # Steps of a size change places with one another, so that all of them stay where they are cut.
        sizes = np.array([len(step) for step in steps])
        for size in np.unique(sizes):
            places = np.flatnonzero(sizes == size)
            moved = [steps[int(place)] for place in rng.permutation(places)]
            for place, step in zip(places, moved, strict=True):
                steps[int(place)] = step
        return np.concatenate(steps)


def cut(visits: int, steps: int, place: int) -> tuple[int, int]:
    """First visit of a step and the one behind its last; the first steps have one more where it is needed."""
    size, more = divmod(visits, steps)
    first = place * size + min(place, more)
    return first, first + size + (place < more)
