"""How often 95 % intervals hold the truth, where the truth is known and clips of one source are alike.

    python benchmarks/intervals.py [--trials 2000] [--out FILE]

Sources have true shares of their own around a mean (beta-distributed, correlation `ICC` within a source),
and from 1 to 11 questions each. Measured are the accuracy of one model, the gain of a second one on the same
questions, and the mean over three types of question. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from _machine import describe
from vidapt.metrics.intervals import (
    Interval,
    difference_interval,
    grouped_intervals,
    mean_interval,
    unanimous,
)

RESULTS = Path(__file__).parent / "results" / "intervals.json"
SOURCES, TRUTHS = (10, 20, 50, 200), (0.6, 0.8, 0.9, 0.95)
ICC, MOST, RESAMPLES = 0.2, 11, 1000
GAIN, TYPES = 0.05, "abc"

Draw = Callable[[np.random.Generator, int, float, int], tuple[Interval, float]]


def shares(rng: np.random.Generator, sources: int, mean: float) -> np.ndarray:
    """[K] true shares."""
    strength = (1 - ICC) / ICC
    return rng.beta(mean * strength, (1 - mean) * strength, sources)


def questions(rng: np.random.Generator, sources: int) -> np.ndarray:
    """[n] the source of each question."""
    return np.repeat(np.arange(sources), rng.integers(1, MOST + 1, sources))


def accuracy(rng: np.random.Generator, sources: int, mean: float, seed: int) -> tuple[Interval, float]:
    """Of one model."""
    of = questions(rng, sources)
    right = rng.random(len(of)) < shares(rng, sources, mean)[of]
    return unanimous(mean_interval(right, of.tolist(), resamples=RESAMPLES, seed=seed), sources), mean


def gain(rng: np.random.Generator, sources: int, mean: float, seed: int) -> tuple[Interval, float]:
    """Of a second model, which is right where the first is, but for a share of sources' own."""
    of, own = questions(rng, sources), shares(rng, sources, mean)
    luck = rng.random(len(of))
    # It wins what it lacks in some sources and loses in others; on average `GAIN` of what is missing.
    moved = np.clip(rng.normal(GAIN, 0.2, sources), -1, 1)
    better = np.where(moved > 0, own + moved * (1 - own), own * (1 + moved))
    found = difference_interval(
        luck < own[of], luck < better[of], of.tolist(), resamples=RESAMPLES, seed=seed
    )
    return found, _true_gain(mean)


@cache
def _true_gain(mean: float) -> float:
    rng = np.random.default_rng(0)
    moved, own = np.clip(rng.normal(GAIN, 0.2, 2_000_000), -1, 1), shares(rng, 2_000_000, mean)
    return float(np.where(moved > 0, moved * (1 - own), own * moved).mean())


def mean_of_types(rng: np.random.Generator, sources: int, mean: float, seed: int) -> tuple[Interval, float]:
    """Of a model for which each type is harder than the one before."""
    of = questions(rng, sources)
    kinds = rng.integers(0, len(TYPES), len(of))
    harder = shares(rng, sources, mean)[of] ** (1 + kinds)
    right = rng.random(len(of)) < harder
    strength = (1 - ICC) / ICC
    a, b = mean * strength, (1 - mean) * strength
    moments = np.cumprod([(a + k) / (a + b + k) for k in range(len(TYPES))])
    named = [TYPES[kind] for kind in kinds]
    found = grouped_intervals(right, named, of.tolist(), resamples=RESAMPLES, seed=seed).macro
    return found, float(moments[: len(set(named))].mean())


def covered(draw: Draw, sources: int, mean: float, trials: int) -> dict[str, float]:
    """Share of trials whose interval holds the truth, and its mean width."""
    rng = np.random.default_rng([sources, round(100 * mean)])
    held, width = 0, 0.0
    for trial in range(trials):
        interval, truth = draw(rng, sources, mean, trial)
        held += interval.low <= truth <= interval.high
        width += interval.high - interval.low
    return {"held": round(held / trials, 4), "width": round(width / trials, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    found = {
        f"{draw.__name__}, {sources} sources, truth {mean}": covered(draw, sources, mean, given.trials)
        for draw in (accuracy, gain, mean_of_types)
        for sources in SOURCES
        for mean in TRUTHS
    }
    for name, one in found.items():
        print(f"{name}: {100 * one['held']:.1f} %, width {one['width']:.3f}")
    result = {"trials": given.trials, "icc": ICC, "found": found, "machine": describe("vidapt", "numpy")}
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
