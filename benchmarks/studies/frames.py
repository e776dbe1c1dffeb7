"""Which frames to take when only a few are: evenly, where much happens, or the cheapest near even moments.

    python benchmarks/studies/frames.py run [--seeds 0,1,2]
    python benchmarks/studies/frames.py table

`run` trains the shipped model, all of it, on its own venue with each policy at each count, and asks about
what happens in clips that it has not seen. What is finished is not done again, so it can be stopped. `table`
writes the section "Frames" of `docs/studies/labels.md` and the results file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _adapt_data import WORDS
from _adapt_measures import read_measured
from _tables import crossed_interval, line, macro, percent, shown, write_between

from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.evaluate import evaluate
from vidapt.measure.verdicts import MODEL
from vidapt.models.decoding import Decoding
from vidapt.progress import silent
from vidapt.recipe import Recipe
from vidapt.training.run import train
from vidapt.worlds.billiards import simulate

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "labels.md"
RESULTS = ROOT / "benchmarks" / "results" / "frames_study.json"
BEGIN, END = "<!-- frames: written by the study's `table` -->", "<!-- end of frames -->"

START = "billiards-home"
EVENTS = (
    "break",
    "first_hit",
    "pocket_colour",
    "number_pocketed",
    "which_pocket",
    "cushion_first",
    "scratch",
)
"""Types of question whose answer happens, at moments that no question names."""

ARMS = {f"{policy}_{count}": (policy, count) for count in (4, 8, 12) for policy in ("uniform", "motion")}
ARMS |= {f"{policy}_16": (policy, 16) for policy in ("uniform", "near")}
PAIRS = [(f"motion_{count}", f"uniform_{count}") for count in (4, 8, 12)] + [("near_16", "uniform_16")]
STEPS, RATE = 100, 1e-3
LEARNED, ASKED = (300, 903), (100, 900)
"""Clips and seed of the two pools."""


def run(runs: Path, pool: Path, seeds: list[int]) -> None:
    """Train and measure what is not there yet."""
    for name, (clips, seed) in (("home", LEARNED), ("home-test", ASKED)):
        simulate(pool / name, clips=clips, venue="home", seed=seed, workers=1)
    for seed in seeds:
        for name in ARMS:
            result = runs / "measured" / f"{name}-{seed}.json"
            if not result.exists():
                began = time.process_time()
                write_json(result, _measured(runs, pool, name, seed))
                print(f"{name}-{seed}: {time.process_time() - began:.0f} s of CPU", flush=True)


def _recipe(pool: Path, name: str, seed: int) -> Recipe:
    policy, count = ARMS[name]
    stage = {
        "name": "adapt",
        "data": [{"path": str(_labels(pool / "home")), "types": list(EVENTS)}],
        "train": {"towers": "full", "connector": "full", "language": "full"},
        "batching": {"clips": 4, "questions": 8},
        "optimizer": {"rates": dict.fromkeys(("towers", "connector", "language"), RATE), "warmup": 0.1},
        "steps": STEPS,
        "save_every": 1000,
    }
    told = {"name": f"{name}-{seed}", "start": START, "seed": seed, "stages": [stage]}
    return Recipe.model_validate({**told, "reads": {"frames": {"policy": policy, "count": count}}})


def _labels(world: Path) -> Path:
    words = world / WORDS
    return words if words.exists() else world / "labels.jsonl"


def _measured(runs: Path, pool: Path, name: str, seed: int) -> dict[str, Any]:
    began = time.process_time()
    model = train(_recipe(pool, name, seed), runs, silent, resume=True, workers=0, track=())
    took = time.process_time() - began
    asked = [one for one in open_samples(_labels(pool / "home-test")) if one.facts["type"] in EVENTS]
    found = evaluate(
        load(model),
        asked,
        out=runs / "asking" / f"{name}-{seed}",
        decoding=Decoding(max_new_tokens=24),
        controls=(),
        train_samples=list(open_samples(_labels(pool / "home"))),
        workers=0,
        overwrite=True,
    )
    rows = [
        [v.sample, v.clip.id, v.type, {a: int(bool(v.right(a))) for a in v.predictions}, v.predictions[MODEL]]
        for v in found.verdicts
    ]
    return {"cpu_seconds": round(took, 1), "sets": {"events": rows}}


def table(runs: Path) -> None:
    """Write the section and the results."""
    found = {name: one for name in ARMS if (one := read_measured(runs, name))}
    means = {name: [macro(one["sets"]["events"]) for one in by.values()] for name, by in found.items()}
    first = next(iter(found.values()))[0]["sets"]["events"]
    majority = macro(first, "majority")
    lines = [line(["arm", "seeds", "events", "CPU s"]), line(["---"] * 4)]
    for name, by in found.items():
        took = statistics.median(one["cpu_seconds"] for one in by.values())
        lines.append(line([f"`{name}`", str(len(by)), percent(means[name]), f"{took:.0f}"]))
    lines += ["", line(["difference, points", "seeds", "events"]), line(["---"] * 3)]
    told = {}
    for one, base in PAIRS:
        if one in found and base in found:
            told[f"{one} - {base}"] = gap = crossed_interval(found[base], found[one], "events")
            seeds = len(found[one].keys() & found[base].keys())
            lines.append(line([f"`{one}` − `{base}`", str(seeds), shown(gap)]))
    clips = len({row[1] for row in first})
    head = f"{len(first)} questions about {clips} clips; the most common answers have {100 * majority:.1f}."
    write_between(PAGE, BEGIN, "\n".join([head, "", *lines]), END)
    gaps = {name: [round(x, 5) for x in (gap.value, gap.low, gap.high)] for name, gap in told.items() if gap}
    write_json(RESULTS, {"majority": majority, "accuracy": means, "differences": gaps})
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study-frames")
    parser.add_argument("--pool", type=Path, default=ROOT / "pool" / "study-adaptation")
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    if given.what == "table":
        table(given.runs)
    else:
        run(given.runs, given.pool, [int(seed) for seed in given.seeds.split(",")])


if __name__ == "__main__":
    main()
