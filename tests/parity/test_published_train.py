"""Every published layout answers, trains with low-rank adapters from its folder, and is handed on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from test_export_contract import MODELS
from todays_tools import ROWS

import vidapt
from vidapt.loading import export_model
from vidapt.progress import silent
from vidapt.recipe import Recipe
from vidapt.training.run import train
from vidapt.video import write_mp4

QUESTION = "what is it ?"


def labels(folder: Path) -> Path:
    pixels = np.zeros((12, 56, 64, 3), np.uint8)
    pixels[:, 8:24, 8:24, 0] = 200
    write_mp4(folder / "red.mp4", pixels, rate=8)
    file = folder / "labels.jsonl"
    row = {"video": "red.mp4", "question": QUESTION, "answer": "a red ball"}
    file.write_text(json.dumps(row) + "\n")
    return file


@pytest.mark.parametrize(
    "name", [name for name in MODELS if name not in ROWS]
)  # these: test_todays_models.py
def test_a_published_folder_answers_trains_and_is_handed_on(name: str, tmp_path: Path) -> None:
    MODELS[name][0](tmp_path / "published")
    file = labels(tmp_path)
    before = vidapt.load(tmp_path / "published").ask(tmp_path / "red.mp4", QUESTION, max_new_tokens=4)
    stage = {
        "name": "adapt",
        "steps": 2,
        "train": {
            "towers": "frozen",
            "connector": "full",
            "language": "lora",
            "lora": {"rank": 2, "alpha": 4, "targets": "all-linear"},
        },
        "optimizer": {"rates": {"connector": 1e-2, "language": 1e-2}},
        "batching": {"clips": 1, "questions": 1},
    }
    recipe = Recipe.model_validate(
        {"name": "run", "start": str(tmp_path / "published"), "data": str(file), "stages": [stage]}
    )
    run = train(recipe, tmp_path / "runs", silent, workers=0)
    told = json.loads((run / "load_report.json").read_text())
    assert told["prompt"]
    assert not told["missing"]
    assert not told["unexpected"]
    assert not told["initialised"]
    adapted = vidapt.load(run)
    answer = adapted.ask(tmp_path / "red.mp4", QUESTION, max_new_tokens=4)
    export_model(run, tmp_path / "out", to="hf", dtype="float32")
    handed_on = vidapt.load(tmp_path / "out")
    assert handed_on.ask(tmp_path / "red.mp4", QUESTION, max_new_tokens=4) == answer
    weights = run / "01-adapt" / "model" / "model.safetensors"
    trained = {key: tensor for key, tensor in load_file(weights).items() if "lora_B" in key}
    assert trained
    assert any(tensor.any() for tensor in trained.values())
    assert isinstance(before, str)
