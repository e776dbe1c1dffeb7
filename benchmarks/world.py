"""CPU milliseconds per simulated billiards clip: planning, physics, rendering, encoding, labelling.

    python benchmarks/world.py [--clips 64] [--rounds 3] [--out FILE]

One process on one thread does what a worker of `vidapt simulate billiards` does, in batches of as many clips
as a worker takes. Process CPU time is counted, so that a busy machine changes the answer little, and the
cheapest of several rounds counts. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from _machine import describe
from vidapt.worlds.billiards import VENUES, Venue
from vidapt.worlds.billiards.clips import play
from vidapt.worlds.billiards.physics import Shot, roll
from vidapt.worlds.billiards.shots import plan
from vidapt.worlds.billiards.table import FPS
from vidapt.worlds.encode import encode

SEED = 0
BATCH = 64
STEPS = ("plan", "physics", "render", "encode", "label")
RESULTS = Path(__file__).parent / "results" / "world.json"

Given = TypeVar("Given")
Made = TypeVar("Made")


def timed(costs: dict[str, float], step: str, work: Callable[[Given], Made], given: Given) -> Made:
    """Do `work` on what is given and add its CPU seconds to `costs`."""
    begun = time.process_time()
    made = work(given)
    costs[step] += time.process_time() - begun
    return made


def plan_all(numbers: range) -> list[Shot]:
    return [plan(np.random.default_rng([SEED, number])) for number in numbers]


def one_round(venue: Venue, clips: int) -> tuple[dict[str, float], int]:
    """Make all clips once: CPU milliseconds per clip of each step, and bytes of all files."""
    costs = dict.fromkeys(STEPS, 0.0)
    size = 0
    for first in range(0, clips, BATCH):
        numbers = range(first, min(first + BATCH, clips))
        timed(costs, "physics", roll, timed(costs, "plan", plan_all, numbers))
        for played in play(SEED, numbers, venue):
            film = timed(costs, "render", played.film, venue)
            size += len(timed(costs, "encode", partial(encode, fps=FPS), film))
            timed(costs, "label", played.questions, venue)
    return {step: 1000 * seconds / clips for step, seconds in costs.items()}, size


def measure(venue: Venue, clips: int, rounds: int) -> dict[str, Any]:
    """Cheapest of several rounds, step by step."""
    one_round(venue, 1)
    runs = [one_round(venue, clips) for _ in range(rounds)]
    cheapest = {step: min(costs[step] for costs, _ in runs) for step in STEPS}
    return {
        "size": list(venue.size),
        "cpu_ms_per_clip": {step: round(ms, 3) for step, ms in cheapest.items()},
        "total_cpu_ms_per_clip": round(sum(cheapest.values()), 2),
        "kilobytes_per_clip": round(runs[0][1] / clips / 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = {
        "clips": options.clips,
        "rounds": options.rounds,
        "venues": {venue.name: measure(venue, options.clips, options.rounds) for venue in VENUES},
        "machine": describe("vidapt", "numpy", "av"),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
