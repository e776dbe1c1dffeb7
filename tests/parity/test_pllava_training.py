"""PLLaVA is adapted by the shipped recipe for published checkpoints, and written back as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import parity_tools as tools
import test_parity_pllava as original
import torch
from test_parity_pllava import RANK, Adapters, wrapped
from test_pllava_folders import close, logits, stored
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.hub import export_hf, open_checkpoint
from vidapt.loading import open_model
from vidapt.recipe import LoRA
from vidapt.video import write_mp4

oracle, adapters, folder = original.oracle, original.adapters, original.folder

RECIPE = Path(__file__).parents[2] / "recipes" / "my-clips-lora.yaml"


def train(start: Path, place: Path, *options: str) -> Path:
    """Adapt with the shipped recipe, made small; returns the model's folder."""
    clips = place / "clips"
    clips.mkdir()
    rows = []
    for index in range(3):
        write_mp4(clips / f"{index}.mp4", tools.film(5, 36, 64, seed=index).numpy(), 5)
        rows.append({"video": f"clips/{index}.mp4", "question": "w7 w8", "answer": f"w{20 + index} w9"})
    data = place / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        "train",
        str(RECIPE),
        "--data",
        str(data),
        "--start",
        str(start),
        "--runs",
        str(place / "runs"),
    ]
    small = ["stages.0.epochs=2", "stages.0.batching.clips=2", *options]
    for option in small:
        command += ["--set", option]
    shown = CliRunner().invoke(app, [*command, "--workers", "0"])
    assert shown.exit_code == 0, shown.output
    assert "adapters" in shown.output
    return place / "runs" / "my-clips-lora"


def test_the_recipe_for_published_checkpoints_trains_pllavas_own_adapters_on(
    folder: Path, oracle: Any, adapters: Adapters, tmp_path: Path
) -> None:
    run = train(folder, tmp_path, f"stages.0.train.lora.rank={RANK}")
    card = json.loads((run / "01-adapt" / "model" / "card.json").read_text())
    assert card["adapters"] == "the model's go on, with alpha 256 in place of 4"
    model, tokenizer = open_model(run)
    start, _, _ = open_checkpoint(folder)
    assert model.blueprint.adapters == LoRA(
        rank=RANK, alpha=256.0, dropout=0.05, targets=("q_proj", "v_proj")
    )
    assert (logits(model) - logits(start)).abs().max() > 1e-6
    moved = {name for name, w in model.named_parameters() if "lora_" in name and w.abs().max() > 0}
    assert len(moved) == 2 * len(adapters)
    base = {name: w for name, w in start.named_parameters() if "base_layer" in name or "towers" in name}
    assert all(torch.equal(model.get_parameter(name), weight) for name, weight in base.items())
    export_hf(tmp_path / "hf", model, tokenizer)
    assert stored(tmp_path / "hf") == wrapped(oracle, adapters).keys()
    close(logits(open_model(tmp_path / "hf")[0]), logits(model))


def test_the_recipe_as_it_is_merges_adapters_of_another_rank(folder: Path, tmp_path: Path) -> None:
    run = train(folder, tmp_path)
    card = json.loads((run / "01-adapt" / "model" / "card.json").read_text())
    assert "are merged; new ones begin" in card["adapters"]
    model, _ = open_model(run)
    assert model.blueprint.adapters is not None
    assert model.blueprint.adapters.rank == 128
