"""What leaving out still tokens costs in right answers and false claims, beside other ways to as few tokens.

    python benchmarks/studies/pruning.py run [--seeds 0,1,2]
    python benchmarks/studies/pruning.py table

A model of the home venue that reads cells of every frame is made with each seed (the shipped tower and
language model, a new connector), and asked with all tokens, with those that change most, and with as many by
other ways: cells drawn at random, fewer frames, coarser cells. Then it learns on with each of them, and is
X
results file.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from _pruning_tables import write_tables
from torch import Tensor

from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.evaluate import evaluate, world_judge
from vidapt.measure.verdicts import MODEL
from vidapt.models import pruning
from vidapt.models.generate import Decoding
from vidapt.nouns import Grid, Sample
from vidapt.progress import silent
from vidapt.recipe import Recipe
from vidapt.recipe.reads import Reads
from vidapt.training.run import train
from vidapt.worlds.billiards import simulate

ROOT = Path(__file__).parents[2]
START = "billiards-home"
FRAMES = 18
LEARNED, ASKED = (800, 911), (60, 912)
"""Clips and seed of the two pools."""
BASE_STEPS, MORE_STEPS, ROWS_MORE = 300, 60, 4500

ARMS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "keep_0.5": {"keep": 0.5},
    "keep_0.25": {"keep": 0.25},
    "keep_0.125": {"keep": 0.125},
    "random_0.5": {"keep": 0.5, "random": True},
    "random_0.25": {"keep": 0.25, "random": True},
    "random_0.125": {"keep": 0.125, "random": True},
    "frames_9": {"frames": 9},
    "frames_5": {"frames": 5},
    "frames_3": {"frames": 3},
    "coarse_3": {"stride": 3},
    "coarse_4": {"stride": 4},
    "coarse_6": {"stride": 6},
    "keep_0.75": {"keep": 0.75},
}
"""What is read instead of all tokens; the controls of a share have as many or somewhat more."""


def run(runs: Path, pool: Path, seeds: list[int]) -> None:
    """Train and measure what is not there yet, seed by seed."""
    for name, (clips, seed) in (("home", LEARNED), ("home-test", ASKED)):
        simulate(pool / name, clips=clips, venue="home", seed=seed, workers=1)
    asked = list(open_samples(pool / "home-test" / "labels.jsonl"))
    for seed in seeds:
        base = train(_base(pool, seed), runs, silent, resume=True, workers=0, track=())
        for name in ARMS:
            _once(runs, f"asked-{name}", seed, base, name, asked)
        for name in ARMS:
            if not (runs / "measured" / f"trained-{name}-{seed}.json").exists():
                with _random(ARMS[name]):
                    model = train(
                        _more(pool, base, name, seed), runs, silent, resume=True, workers=0, track=()
                    )
                _once(runs, f"trained-{name}", seed, model, name, asked)


def _once(runs: Path, arm: str, seed: int, model: Path, name: str, asked: list[Sample]) -> None:
    result = runs / "measured" / f"{arm}-{seed}.json"
    if not result.exists():
        write_json(result, _measured(model, ARMS[name], asked, runs / "asking" / f"{arm}-{seed}"))
        print(f"{arm}-{seed}", flush=True)


def _base(pool: Path, seed: int) -> Recipe:
    """All tokens of every frame: 40 cells of 18 frames."""
    blueprint = {
        "towers": [{"weights": START}],
        "connector": {"kind": "pool_mlp", "extra_per_clip": 4},
        "language": {"weights": START},
        "resolution": _resolution({}),
        "frames": _frames({}),
    }
    stage = {**_stage(pool, BASE_STEPS, 2e-3, 1.5e-3), "name": "words"}
    return Recipe.model_validate(
        {"name": f"base-{seed}", "seed": seed, "blueprint": blueprint, "stages": [stage]}
    )


def _more(pool: Path, base: Path, name: str, seed: int) -> Recipe:
    """The same model learns on, reading what an arm reads."""
    arm = ARMS[name]
    stage = {**_stage(pool, MORE_STEPS, 1e-3, 7e-4, ROWS_MORE), "name": "more"}
    reads = {"resolution": _resolution(arm), "frames": _frames(arm)}
    told = {
        "name": f"more-{name}-{seed}",
        "seed": seed,
        "start": str(base),
        "stages": [stage],
        "reads": reads,
    }
    return Recipe.model_validate(told)


def _stage(
    pool: Path, steps: int, connector: float, language: float, rows: int | None = None
) -> dict[str, Any]:
    data = {"path": str(pool / "home" / "labels.jsonl"), **({} if rows is None else {"limit": rows})}
    return {
        "data": [data],
        "objective": {"kind": "next_token"},
        "train": {"towers": "frozen", "connector": "full", "language": "full"},
        "batching": {"clips": 4, "questions": 14},
        "cache": {"keep": "features", "dtype": "float16"},
        "optimizer": {
            "rates": {"connector": connector, "language": language},
            "weight_decay": 0.03,
            "warmup": 0.1,
        },
        "steps": steps,
        "save_every": 1000,
    }


def _resolution(arm: Mapping[str, Any]) -> dict[str, Any]:
    how: dict[str, Any] = {
        "kind": "framed",
        "fit": "squash",
        "filter": "area",
        "pool": "bilinear",
        "order": "pool_first",
    }
    if "keep" in arm:
        # What is kept of a clip is kept with its features, by the share: by chance, it is another one.
        how["prune"] = {"keep": arm["keep"] - (1e-6 if arm.get("random") else 0)}
    return {**how, "stride": arm.get("stride", 2)}


def _frames(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {"policy": "uniform", "count": arm.get("frames", FRAMES), "at": "midpoints"}


@contextmanager
def _random(arm: Mapping[str, Any]) -> Iterator[None]:
    """Where an arm says so, every cell changes by chance: the same for the same pixels."""
    plain = pruning.cell_changes

    def drawn(view: Tensor, grid: Grid) -> Tensor:
        generator = torch.Generator().manual_seed(int(view.long().sum()))
        return torch.rand(grid.t, grid.h, grid.w, generator=generator)

    if arm.get("random"):
        pruning.cell_changes = drawn
    try:
        yield
    finally:
        pruning.cell_changes = plain


def _measured(model: Path, arm: Mapping[str, Any], asked: list[Sample], out: Path) -> dict[str, Any]:
    engine = load(model)
    told = {"resolution": _resolution(arm), "frames": _frames(arm)}
    engine.model.read_otherwise(Reads.model_validate(told))
    began = time.process_time()
    with _random(arm):
        found = evaluate(
            engine,
            asked,
            out=out,
            decoding=Decoding(max_new_tokens=96),
            controls=(),
            judge=world_judge(Path(asked[0].media[0].path).parents[1]),
            workers=0,
            overwrite=True,
        )
    took = time.process_time() - began
    rows = [
        [v.sample, v.clip.id, v.type, {MODEL: int(bool(v.right(MODEL)))}, v.predictions[MODEL]]
        for v in found.verdicts
        if not v.free
    ]
    texts = [{"clip": v.clip.id, **asdict(v.claims[MODEL])} for v in found.verdicts if v.free]
    return {
        "tokens": engine.clip_tokens,
        "cpu_seconds": round(took / found.clips, 4),
        "sets": {"home": rows},
        "texts": texts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study-pruning")
    parser.add_argument("--pool", type=Path, default=ROOT / "pool" / "study-pruning")
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    if given.what == "table":
        write_tables(given.runs, list(ARMS))
    else:
        run(given.runs, given.pool, [int(seed) for seed in given.seeds.split(",")])


if __name__ == "__main__":
    main()
