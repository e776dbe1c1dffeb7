"""What helps when a model is adapted to another venue: parts, scales, stages, references, stills, sizes.

    python benchmarks/studies/adaptation.py run [--seeds 0,1,2] [--only a b ...]
    python benchmarks/studies/adaptation.py table

`run` simulates its clips, adapts the shipped model in every arm of every question and asks each one the same
questions about clips that none has learned from. What is finished is not done again, so it can be stopped.
`table` writes the numbers of `docs/studies/adaptation.md` between its marks, and the results file.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _adapt_arms import LETTERS, questions
from _adapt_data import prepare
from _adapt_measures import Bench
from _adapt_tables import write_tables

ROOT = Path(__file__).parents[2]


def run(runs: Path, pool: Path, seeds: list[int], only: list[str]) -> None:
    """Train and measure what is not there yet, arm by arm."""
    bench, plan = Bench(runs, pool), questions()
    every = [arm for _, arms in plan for arm in arms]
    for letter, arms in plan:
        if only and letter not in only:
            continue
        jobs = [(arm, seed) for arm in arms for seed in (seeds if arm.stages else [0])]
        for arm, seed in jobs:
            began = time.process_time()
            bench.do(arm, seed, every)
            print(f"{letter} {arm.name}-{seed}: {time.process_time() - began:.0f} s of CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study-adaptation")
    parser.add_argument("--pool", type=Path, default=ROOT / "pool" / "study-adaptation")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", nargs="*", default=[], choices=LETTERS)
    given = parser.parse_args()
    if given.what == "table":
        write_tables(
            given.runs, [(letter, [n for arm in arms for n in arm.names]) for letter, arms in questions()]
        )
        return
    prepare(given.pool)
    run(given.runs, given.pool, [int(seed) for seed in given.seeds.split(",")], given.only)


if __name__ == "__main__":
    main()
