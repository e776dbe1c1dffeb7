"""A published checkpoint is adapted by adapters, in its language model and then in its tower, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adapt_tools import footage
from test_export_contract import MODELS

from vidapt.adapting import Means, Request, Talk, adapt, base, choose
from vidapt.recipe import load_recipe

CHANGES = tuple(
    f"stages.{stage}.{change}"
    for stage in (0, 1)
    for change in (
        "epochs=null",
        "steps=2",
        "batching.clips=2",
        "train.lora.rank=2",
        "train.towers_lora.rank=2",
    )
)


@pytest.mark.parametrize("name", ["llava_next_video", "qwen2_vl"])
def test_a_published_checkpoint_is_adapted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "LARGE", 1)
    monkeypatch.setattr(choose, "_ENOUGH_FOR_EYES", 1)
    MODELS[name][0](tmp_path / "published")
    clips, labels = footage(tmp_path, 10)
    told: list[str] = []
    request = Request(clips, labels, start=str(tmp_path / "published"), changes=CHANGES)
    adapted = adapt(request, tmp_path / "out", Means("cpu", 0), Talk(told.append))
    assert adapted is not None
    recipe = load_recipe(tmp_path / "out" / "recipe.yaml")
    assert [(stage.train.towers, stage.train.language) for stage in recipe.stages] == [
        ("frozen", "lora"),
        ("lora", "lora"),
    ]
    assert {"model", "blind", "other_clip", "majority"} == set(adapted.after.arms)
    kept = next(line for line in told if line.startswith("kept: "))
    if "no sure gain" in kept:
        assert adapted.model.parts[-2:] == ("01-adapt", "model")
    assert json.loads((tmp_path / "out" / "result.json").read_text())["model"] == str(adapted.model)
