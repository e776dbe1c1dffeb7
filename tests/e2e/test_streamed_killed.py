"""`vidapt train` from labels that are read row by row and mixed, killed three times and resumed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from killed_tools import Command, one_thread, silent, stop_when
from safetensors.torch import load_file

from vidapt.recipe import load_recipe
from vidapt.training.run import train
from vidapt.video import write_mp4

RECIPE = """\
name: run
vocabulary: 300
blueprint:
  towers:
    - kind: frame_vit
      arch:
        model_type: clip_vision_model
        hidden_size: 16
        intermediate_size: 32
        num_hidden_layers: 2
        num_attention_heads: 2
        image_size: 16
        patch_size: 4
  connector: {kind: pool_mlp}
  resolution: {kind: framed, pool: average, order: pool_first}
  frames: {policy: uniform, count: 3}
  language:
    model_type: llama
    hidden_size: 16
    intermediate_size: 24
    num_hidden_layers: 2
    num_attention_heads: 4
    num_key_value_heads: 2
stages:
  - name: a
    data: [{path: clips/0.jsonl, read: rows}, {path: clips/1.jsonl, weight: 2.5}]
    mix: {by: weights}
    train: {language: lora, lora: {rank: 2, dropout: 0.2}}
    batching: {clips: 2, questions: 2}
    steps: 80
    save_every: 5
"""


def write_data(folder: Path) -> None:
    clips = folder / "clips"
    clips.mkdir()
    rng = np.random.default_rng(0)
    for source in range(2):
        rows = []
        for index in range(4):
            name = f"{source}{index}.mp4"
            write_mp4(clips / name, rng.integers(0, 255, (6, 24, 32, 3), dtype=np.uint8), 6)
            rows += [
                {"video": name, "question": f"what is {q}?", "answers": ["a", f"it is {q}."]}
                for q in range(3)
            ]
        (clips / f"{source}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")


@pytest.mark.timeout(900)  # it starts processes, which import torch; that takes long on a busy machine
def test_what_is_killed_again_and_again_ends_with_the_same_weights(tmp_path: Path) -> None:
    write_data(tmp_path)
    work = tmp_path / "cut" / "run" / "01-a" / "work"
    command = ["train", tmp_path / "recipe.yaml", "--runs", tmp_path / "cut", "--workers", "0"]
    for kill in range(3):
        before = {path.name for path in work.glob("checkpoint-*")}
        training = Command(*command, *(["--resume"] if kill else []))
        moved = lambda: {path.name for path in work.glob("checkpoint-*")} - before  # noqa: B023, E731
        assert stop_when(moved, training, after=0.03 * kill) == -signal.SIGKILL
    assert not (tmp_path / "cut" / "run" / "01-a" / "model").exists()

    recipe = load_recipe(tmp_path / "recipe.yaml")
    with one_thread():
        whole = train(recipe, tmp_path / "whole", silent, workers=0)
        resumed = train(recipe, tmp_path / "cut", silent, workers=0, resume=True)
    left, right = (load_file(run / "01-a" / "model" / "model.safetensors") for run in (whole, resumed))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
