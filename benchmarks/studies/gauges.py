"""Which gauges, measured while a model learns, say anything of what comes of it.

    python benchmarks/studies/gauges.py run [--seeds 0,1]
    python benchmarks/studies/gauges.py table

The shipped model learns another venue in four ways, in eight short stages each; every stage's model is a
checkpoint. Each is gauged on clips that nothing learns from, asked about others (`now`), and trained on for a
few steps by one and the same recipe on further clips before it is asked again (`later`). What is finished is
not done again. `table` writes the numbers of `docs/studies/measure.md` and the results file.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _adapt_arms import START
from _adapt_data import WORDS, in_home_words, once
from _tables import line, write_between

from vidapt.files import write_json
from vidapt.measure.command import Asking
from vidapt.measure.gauging.gauge import WORDS as MEANINGS
from vidapt.measure.gauging.gauge import gauge_set
from vidapt.measure.gauging.study import HEAD, Point, Study, related, study
from vidapt.measure.provenance import read_object
from vidapt.progress import silent
from vidapt.recipe import Recipe
from vidapt.training.run import train
from vidapt.worlds.billiards import simulate

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "measure.md"
RESULTS = ROOT / "benchmarks" / "results" / "gauges_study.json"
BEGIN, END = "<!-- gauges: written by the study's `table` -->", "<!-- end of gauges -->"

WORLDS = {"learned": (160, 12), "gauged": (48, 13), "branch": (60, 14), "test": (80, 15)}
"""Clips of the club and seeds."""

STAGES, STEPS, BRANCH_STEPS = 8, 10, 25
QUESTIONS, SMALL = 256, 64
WAYS: dict[str, tuple[dict[str, str], float, int]] = {
    "language": ({"towers": "frozen", "connector": "frozen", "language": "full"}, 1e-3, 160),
    "all": ({"towers": "full", "connector": "full", "language": "full"}, 1e-3, 160),
    "connector": ({"towers": "frozen", "connector": "full", "language": "frozen"}, 3e-3, 160),
    "few": ({"towers": "full", "connector": "full", "language": "full"}, 2e-3, 12),
}
"""What learns, how fast, and from how many clips."""


def prepare(pool: Path) -> None:
    """Simulate what is missing."""
    for name, (clips, seed) in WORLDS.items():
        if not (pool / name / "dataset.json").exists():
            simulate(pool / name, clips=clips, venue="club", seed=seed, workers=1)
        once(pool / name / WORDS, lambda at=pool / name, seed=seed: in_home_words(at, seed))  # type: ignore[misc]


def stage(name: str, labels: Path, parts: dict[str, str], rate: float, steps: int) -> dict[str, Any]:
    """A stage of a recipe."""
    return {
        "name": name,
        "data": [{"path": str(labels)}],
        "train": parts,
        "batching": {"clips": 4, "questions": 8},
        "cache": {"dtype": "float16"},
        "optimizer": {
            "rates": {part: rate for part in parts if parts[part] != "frozen"},
            "weight_decay": 0.03,
            "warmup": 0.1,
        },
        "steps": steps,
        "save_every": 1000,
    }


def trained(name: str, start: str, seed: int, stages: list[dict[str, Any]], runs: Path) -> Path:
    """A run of stages."""
    told = {"name": name, "start": start, "seed": seed, "stages": stages}
    return train(Recipe.model_validate(told), runs, silent, resume=True, workers=0, track=())


def few_labels(pool: Path, clips: int) -> Path:
    """Labels of the first clips."""
    path = pool / "learned" / f"first-{clips}.jsonl"
    if not path.exists():
        rows = (pool / "learned" / WORDS).read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(row for row in rows if int(row.split('"clips/')[1][:6]) < clips))
    return path


def checkpoints(runs: Path, pool: Path, way: str, seed: int) -> list[Path]:
    """Models of all stages of a run."""
    parts, rate, clips = WAYS[way]
    labels = few_labels(pool, clips)
    stages = [stage(f"s{number}", labels, parts, rate, STEPS) for number in range(STAGES)]
    run = trained(f"{way}-{seed}", START, seed, stages, runs / "runs")
    return sorted(run.glob("[0-9]*/model"))


def branched(runs: Path, pool: Path, checkpoint: Path) -> Path:
    """What comes of a checkpoint by a few more steps."""
    parts = {"towers": "frozen", "connector": "full", "language": "full"}
    name = f"{checkpoint.parents[1].name}-{checkpoint.parent.name}"
    one = stage("on", pool / "branch" / WORDS, parts, 5e-4, BRANCH_STEPS)
    return trained(name, str(checkpoint), 7, [one], runs / "branches")


def carry_out(runs: Path, pool: Path, seeds: list[int]) -> None:
    """Train, gauge, ask."""
    every = [path for seed in seeds for way in WAYS for path in checkpoints(runs, pool, way, seed)]
    later = {str(path): branched(runs, pool, path) for path in every}
    wanted = gauge_set(pool / "gauged" / WORDS, clips=48, questions=QUESTIONS, side=SMALL, workers=0)
    asking = Asking(pool / "test" / WORDS, controls=(), workers=0, max_tokens=16)
    names = list(map(str, every))
    study(names, wanted, {}, asking, runs / "now", silent)
    study(names, wanted, later, asking, runs / "later", silent)


def found_of(runs: Path) -> Iterator[tuple[str, Study]]:
    """What was found, by when."""
    for when in ("now", "later"):
        read = read_object(runs / when / "gauges.json")
        if read:
            # By run and stage: where they lay is nobody's concern.
            points = [
                Point(**{**point, "model": "/".join(Path(point["model"]).parts[-3:])})
                for point in read["points"]
            ]
            yield when, Study(points, related(points))


def write_tables(runs: Path) -> None:
    """Write what there is."""
    lines: list[str] = []
    results: dict[str, Any] = {}
    for when, found in found_of(runs):
        results[when] = found.to_dict()
        ends = [100 * point.result for point in found.points]
        runs_of = len({point.run for point in found.points})
        title = {"now": "what the checkpoint answers", "later": "what comes of it"}[when]
        lines += [
            f"**{title.capitalize()}**: {len(ends)} checkpoints of {runs_of} runs, "
            f"accuracy {min(ends):.1f} to {max(ends):.1f} %.",
            "",
            line(HEAD),
            line(["---"] * len(HEAD)),
            *(line([f"`{row[0]}`", *row[1:]]) for row in found.rows()),
            "",
        ]
    lines += [line(["gauge", "what it is"]), line(["---"] * 2)]
    lines += [line([f"`{name}`", words]) for name, words in MEANINGS.items() if name != "told_apart_texts"]
    write_between(PAGE, BEGIN, "\n".join(lines), END)
    write_json(RESULTS, results)
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study-gauges")
    parser.add_argument("--pool", type=Path, default=ROOT / "pool" / "study-gauges")
    parser.add_argument("--seeds", default="0")
    given = parser.parse_args()
    if given.what == "table":
        write_tables(given.runs)
        return
    began = time.monotonic()
    prepare(given.pool)
    carry_out(given.runs, given.pool, [int(seed) for seed in given.seeds.split(",")])
    print(f"{time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
