"""Towers of dual encoders: what stands for a clip, the levels they show, weights from another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from align_tools import dual, recipe, silent, stage, train, write_captioned
from training_tools import assert_equal, blueprint, weights
from training_tools import stage as talking

from vidapt.errors import ConfigError
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import DualBlueprint, Recipe
from vidapt.towers import dinov2

CONV = {"kind": "conv_vip", "size": [16, 24], "frames": 3, "width": 16, "stem": 8, "heads": 2, "blocks": 2}


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("clips"))


def encoder(**changes: Any) -> DualEncoder:
    text = dual()["text"]["arch"] | {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    given = dual(tower=CONV, text={"arch": text}) | changes
    return DualEncoder(DualBlueprint.model_validate(given)).eval()


def clips() -> torch.Tensor:
    return torch.randint(
        0, 256, (2, 3, 3, 16, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_the_maximum_over_cells_stands_for_a_clip() -> None:
    model, views = encoder(pool="max"), clips()
    cells = model.tower(views).x
    expected = F.normalize(cells.flatten(1, 3).max(1).values @ model.visual_projection.weight.T, dim=-1)
    found = model.encode_video(views)
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, encoder().encode_video(views), atol=1e-2), "the tower pools otherwise"
    alone = model.project_cells(cells.flatten(1, 3))
    assert torch.allclose(alone, cells.flatten(1, 3) @ model.visual_projection.weight.T, atol=1e-6)


def test_a_tower_that_cannot_pool_needs_the_maximum() -> None:
    part = dinov2.tiny()
    assert not hasattr(part, "pool")
    tower = {"kind": "dinov2", **part.cfg.model_dump(exclude_defaults=True)}
    with pytest.raises(ConfigError, match="pool: max"):
        encoder(tower=tower)
    assert encoder(tower=tower, pool="max").blueprint.pool == "max"


def test_conv_vip_shows_its_levels() -> None:
    tower, views = encoder().tower, clips()
    states = list(tower.states(views))
    assert len(states) == 1 + tower.depth == 3
    grid = tower.grid(3, (16, 24))
    last, seen = tower.features(states[-1], grid), tower(views)
    assert torch.equal(last.x, seen.x)
    assert torch.equal(last.extra, seen.extra)
    stem = tower.stem(tower._pixels(views)) + tower.place + tower.time[:3]
    assert torch.equal(tower.features(states[0], grid).x, stem)


@pytest.mark.parametrize("pool", ["tower", "max"])
def test_alignment_reaches_every_level_of_conv_vip(labels: Path, tmp_path: Path, pool: str) -> None:
    levels = ("embedding", "layer:1", "encoder", "projected")
    local: dict[str, dict[str, Any]] = {level: {"patches": level} for level in levels}
    local |= {"every_layer": {"every_layer": True}, "none": {}}
    stems = {}
    for name, where in local.items():
        terms = [{"kind": "contrastive"}, {"kind": "local_align", "sparsify": "top_k", "k": 2, **where}]
        goal = {"kind": "align", "terms": terms[: 1 if name == "none" else 2]}
        run_name = name.replace(":", "")
        plan = recipe(stage(labels, steps=1, objective=goal), dual=dual(tower=CONV, pool=pool), name=run_name)
        run = train(plan, tmp_path, silent, workers=0)
        stems[name] = weights(run)["tower.stem.fold.weight"]
    pairs = [(a, b) for a in stems for b in stems if a < b]
    assert [(a, b) for a, b in pairs if stems[a].equal(stems[b])] == []


def test_a_new_model_takes_the_tower_of_another(labels: Path, tmp_path: Path) -> None:
    first = train(recipe(stage(labels, steps=2), name="first"), tmp_path, silent, workers=0)
    frozen = stage(labels, steps=2, train={"towers": "frozen"})
    second = recipe(frozen, name="second", seed=7, dual=dual(tower={"weights": str(first)}))
    run = train(second, tmp_path, silent, workers=0)
    ours, theirs = (weights(folder) for folder in (run, first))
    assert_equal(*({k: v for k, v in one.items() if k.startswith("tower.")} for one in (ours, theirs)))
    assert not ours["text_projection.weight"].equal(theirs["text_projection.weight"])


def test_a_model_that_writes_takes_the_tower_of_one_that_compares(labels: Path, tmp_path: Path) -> None:
    first = train(recipe(stage(labels, steps=2), name="first"), tmp_path, silent, workers=0)
    connector = {"kind": "pool_mlp", "extra_per_clip": 3}
    blue = blueprint(towers=[{"weights": str(first)}], connector=connector)
    del blue["language"]["vocab_size"]
    rows = write_answered(tmp_path, labels)
    second = Recipe.model_validate(
        {"name": "speaks", "vocabulary": 300, "blueprint": blue}
        | {"stages": [talking(rows, steps=1, train={"towers": "frozen"})]}
    )
    run = train(second, tmp_path, silent, workers=0)
    ours, theirs = weights(run), weights(first)
    towers = {k.replace("towers.0.", "tower."): v for k, v in ours.items() if k.startswith("towers.0.")}
    assert_equal(towers, {k: v for k, v in theirs.items() if k.startswith("tower.")})


def write_answered(folder: Path, labels: Path) -> Path:
    """The clips of a label file with a question each."""
    rows = [
        {"video": str(labels.parent / f"{n}.mp4"), "question": "what?", "answer": "a ball"} for n in range(2)
    ]
    file = folder / "asked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
