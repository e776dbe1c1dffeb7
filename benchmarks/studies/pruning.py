"""What leaving out still tokens costs in right answers and false claims, beside other ways to as few tokens.

    python benchmarks/studies/pruning.py run [--seeds 0,1,2] [--only shown|cells|cost]
    python benchmarks/studies/pruning.py table

Three parts. `shown`: what pruned footage still shows. The shipped model reads slots, not cells; so it is
shown clips in which a cell that would be left out keeps the pixels it was last read with, and answers as
well as what is left allows: with all of it, with what changes most, and with as much by other ways, cells
drawn at random, fewer frames, coarser pictures. Then it learns on with some of them, and is asked again.
`cells`: cells are truly left out, behind the shipped model's tower and in front of its slots; it is asked
as it is, and after it has learned on so. `cost`: tokens are truly left out, by a model that is put together
here and reads 40 cells of each of 18 frames. It has not learned to see, so that only its time is measured.
What is finished is not done again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _pruning_cells
from _pruning_measures import measured, result
from _pruning_shown import drawn_changes, footage_of
from _pruning_tables import write_cell_tables, write_tables

from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.models import pruning
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Sample
from vidapt.progress import silent
from vidapt.recipe import Recipe
from vidapt.recipe.reads import Reads
from vidapt.training.run import train
from vidapt.worlds.billiards import simulate

ROOT = Path(__file__).parents[2]
START = "billiards-home"
LEARNED, ASKED = (800, 911), (100, 912)
"""Clips and seed of the two pools."""
SHARES = (0.5, 0.25, 0.125, 0.0625)
ARMS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "keep_0.75": {"keep": 0.75},
    **{f"keep_{share}": {"keep": share} for share in SHARES},
    **{f"random_{share}": {"keep": share, "random": True} for share in SHARES},
    **{f"frames_{share}": {"frames": share} for share in SHARES},
    **{f"coarse_{share}": {"coarse": share} for share in SHARES},
}
"""What is read instead of all; each control has as much, or somewhat more."""

LEARNING = ("all", "keep_0.25", "random_0.25", "frames_0.25")
"""Arms that learn on."""
BASE_STEPS, MORE_STEPS = 40, 60
FRAMES = 18


def run(runs: Path, pool: Path, seeds: list[int], parts: list[str]) -> None:
    """Train and measure what is not there yet."""
    for name, (clips, seed) in (("home", LEARNED), ("home-test", ASKED)):
        simulate(pool / name, clips=clips, venue="home", seed=seed, workers=1)
    if "cells" in parts:
        _pruning_cells.run_cells(runs, pool, list(open_samples(pool / "home-test" / "labels.jsonl")), seeds)
    if "cost" in parts:
        base = _trained(_base(pool), runs)
        for name in ("all", *(f"keep_{share}" for share in SHARES)):
            _once(runs, f"cost-asked-{name}", 0, base, name, pool)
    if "shown" not in parts:
        return
    for name in ARMS:
        _once(runs, f"shown-asked-{name}", 0, START, name, pool)
    for seed in seeds:
        for name in LEARNING:
            if not result(runs, f"shown-trained-{name}", seed).exists():
                # What is shown is part of no cache's name, so that each arm has a folder of its own.
                with _shown("shown", ARMS[name]):
                    model = _trained(_more(pool, seed), runs / f"shown-{name}")
                _once(runs, f"shown-trained-{name}", seed, model, name, pool)


def _once(runs: Path, arm: str, seed: int, model: str | Path, name: str, pool: Path) -> None:
    if not result(runs, arm, seed).exists():
        part = arm.partition("-")[0]
        asked = list(open_samples(pool / "home-test" / "labels.jsonl"))
        out = runs / "asking" / f"{arm}-{seed}"
        found = _measured(model, part, ARMS[name], asked, out, blind=name == "all")
        write_json(result(runs, arm, seed), found)
        print(f"{arm}-{seed}", flush=True)


def _trained(recipe: Recipe, runs: Path) -> Path:
    return train(recipe, runs, silent, resume=True, workers=0, track=())


def _base(pool: Path) -> Recipe:
    """A model that reads all cells of every frame; it learns how long answers are, and little else."""
    blueprint = {
        "towers": [{"weights": START}],
        "connector": {"kind": "pool_mlp", "extra_per_clip": 4},
        "language": {"weights": START},
        **_reads({}),
    }
    stage = {**_stage(pool, BASE_STEPS, 4), "name": "words"}
    return Recipe.model_validate({"name": "base", "seed": 0, "blueprint": blueprint, "stages": [stage]})


def _more(pool: Path, seed: int) -> Recipe:
    """The shipped model learns on with what an arm shows."""
    stage = {**_stage(pool, MORE_STEPS, 6), "name": "more"}
    return Recipe.model_validate({"name": f"more-{seed}", "seed": seed, "start": START, "stages": [stage]})


def _stage(pool: Path, steps: int, clips: int) -> dict[str, Any]:
    return {
        "data": [{"path": str(pool / "home" / "labels.jsonl"), "limit": 6000}],
        "objective": {"kind": "next_token"},
        "train": {"towers": "frozen", "connector": "full", "language": "full"},
        "batching": {"clips": clips, "questions": 10},
        "cache": {"keep": "features", "dtype": "float16"},
        "optimizer": {"rates": {"connector": 1e-3, "language": 1e-3}, "weight_decay": 0.01, "warmup": 0.05},
        "steps": steps,
        "save_every": 2000,
    }


def _reads(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Resolution and frames of the model that reads cells."""
    how: dict[str, Any] = {"kind": "framed", "fit": "squash", "filter": "area", "pool": "bilinear"}
    how |= {"order": "pool_first", "stride": 2}
    if "keep" in arm:
        how["prune"] = {"keep": arm["keep"]}
    return {"resolution": how, "frames": {"policy": "uniform", "count": FRAMES, "at": "midpoints"}}


@contextmanager
def _shown(part: str, arm: Mapping[str, Any]) -> Iterator[None]:
    """What models see of clips meanwhile: changed footage, or changes of cells by chance."""
    changes, cut = pruning.cell_changes, VideoLM.cut
    if arm.get("random"):
        pruning.cell_changes = drawn_changes
    if part == "shown" and arm:
        change = footage_of(arm, drawn_changes if arm.get("random") else changes)
        VideoLM.cut = _cut_after(change, cut)  # type: ignore[method-assign]
    try:
        yield
    finally:
        pruning.cell_changes, VideoLM.cut = changes, cut  # type: ignore[method-assign]


def _cut_after(change: Callable[[Any], Any], cut: Callable[..., Any]) -> Any:
    def after(self: VideoLM, pixels: Any, *rest: Any, **named: Any) -> Any:
        return cut(self, change(pixels), *rest, **named)

    return after


def _measured(
    model: str | Path, part: str, arm: Mapping[str, Any], asked: list[Sample], out: Path, *, blind: bool
) -> dict[str, Any]:
    engine: Engine = load(model)
    if part == "cost":
        engine.model.read_otherwise(Reads.model_validate(_reads(arm)))
    with _shown(part, arm) if arm else nullcontext():
        found = measured(engine, asked, out, blind=blind)
    return {"tokens": engine.clip_tokens, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study-pruning")
    parser.add_argument("--pool", type=Path, default=ROOT / "pool" / "study-pruning")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", choices=("shown", "cells", "cost"))
    given = parser.parse_args()
    if given.what == "table":
        write_tables(given.runs, list(ARMS))
        write_cell_tables(given.runs, list(_pruning_cells.ARMS))
    else:
        parts = [given.only] if given.only else ["shown", "cells", "cost"]
        run(given.runs, given.pool, [int(seed) for seed in given.seeds.split(",")], parts)


if __name__ == "__main__":
    main()
