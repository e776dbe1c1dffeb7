"""Cells truly left out, of a model that sees: the shipped one, whose slots read only some cells of a clip.

Its weights are the shipped model's, so that with all cells it answers as that one does. Asked as it is, it
has never met gaps; then connector and language model learn on with what each arm reads.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _pruning_measures import measured, result

from vidapt.files import write_json
from vidapt.inference.load import load
from vidapt.loading import open_model
from vidapt.models.folder import save_model
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Sample
from vidapt.parts import import_modules
from vidapt.progress import silent
from vidapt.recipe import Blueprint, Recipe
from vidapt.training.run import train

PARTS = "_pruning_parts"
START = "billiards-home"
SHARES = (0.5, 0.25, 0.125, 0.0625)
THRESHOLDS = (0.003, 0.01, 0.03)
ARMS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "keep_0.75": {"keep": 0.75},
    **{f"keep_{share}": {"keep": share} for share in SHARES},
    **{f"threshold_{change}": {"threshold": change} for change in THRESHOLDS},
    **{f"random_{share}": {"keep": share, "by": "chance"} for share in SHARES},
    **{f"frames_{share}": {"keep": share, "by": "frames"} for share in SHARES},
}
"""Options of the tower: which cells are read. Whole frames are as many cells, or somewhat more."""

LEARNING = (
    "all",
    "keep_0.25",
    "keep_0.125",
    "random_0.25",
    "frames_0.25",
    "keep_0.0625",
    "random_0.125",
    "frames_0.125",
)
STEPS, CLIPS = 300, 8


def run_cells(runs: Path, pool: Path, asked: Sequence[Sample], seeds: Sequence[int]) -> None:
    """Train and measure what is not there yet.

    Args:
        runs: Folder of models and results.
        pool: Of simulated clips; `home` is learned from.
        asked: Questions about others.
        seeds: Of those that learn.
    """
    import_modules([PARTS])
    for arm in ARMS:
        _measure(runs, f"cells-asked-{arm}", 0, start(runs, arm), asked)
    for seed in seeds:
        for arm in LEARNING:
            name = f"cells-trained-{arm}"
            if not result(runs, name, seed).exists():
                recipe = learning(pool, start(runs, arm), arm, seed)
                model = train(recipe, runs, silent, resume=True, workers=0, track=())
                _measure(runs, name, seed, model, asked)


def start(runs: Path, arm: str) -> Path:
    """The folder of the shipped model that reads what an arm does; made if missing."""
    out = runs / "starts" / arm
    if not out.exists():
        shipped, tokenizer = open_model(START)
        model = VideoLM(reader(shipped.blueprint, ARMS[arm]))
        model.load_state_dict(shipped.state_dict())
        save_model(out, model, tokenizer, {"from": START})
    return out


def reader(shipped: Blueprint, options: Mapping[str, Any]) -> Blueprint:
    """The same model with this study's tower and connector."""
    (tower,) = shipped.towers
    parts = {
        "towers": [{**tower, "kind": f"{PARTS}:Tower", **options}],
        "connector": {**shipped.connector, "kind": f"{PARTS}:Slots"},
    }
    return Blueprint.model_validate({**shipped.model_dump(), **parts})


def learning(pool: Path, model: Path, arm: str, seed: int) -> Recipe:
    """Connector and language model learn on; the tower, which sees the whole clip, does not."""
    stage = {
        "name": "more",
        "data": [{"path": str(pool / "home" / "labels.jsonl")}],
        "objective": {"kind": "next_token"},
        "train": {"towers": "frozen", "connector": "full", "language": "full"},
        "batching": {"clips": CLIPS, "questions": 14},
        "cache": {"keep": "features", "dtype": "float16"},
        "optimizer": {"rates": {"connector": 1e-3, "language": 1e-3}, "weight_decay": 0.01, "warmup": 0.05},
        "steps": STEPS,
        "save_every": 2000,
    }
    told = {"name": f"cells-{arm}-{seed}", "seed": seed, "start": str(model), "stages": [stage]}
    return Recipe.model_validate(told)


def _measure(runs: Path, name: str, seed: int, model: Path, asked: Sequence[Sample]) -> None:
    if result(runs, name, seed).exists():
        return
    engine, counts = load(model), list[int]()
    tower = engine.model.towers[0]
    tower.register_forward_hook(
        lambda _, __, seen: counts.extend((seen.x != 0).any(-1).flatten(1).sum(1).tolist())
    )
    found = measured(engine, asked, runs / "asking" / f"{name}-{seed}", blind=name.endswith("-all"))
    write_json(result(runs, name, seed), {"cells": round(statistics.fmean(counts), 1), **found})
    print(f"{name}-{seed}", flush=True)
