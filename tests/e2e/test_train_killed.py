"""`vidapt train`, killed without warning and resumed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_often import kill_often
from killed_tools import Command, Forked, one_thread, silent, stop_when
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
    data: [{path: clips/labels.jsonl}]
    train: {towers: full, language: lora, lora: {rank: 2, dropout: 0.2}}
    batching: {clips: 2, questions: 2, at_once: 1, memory: auto}
    optimizer: {layer_decay: {towers: 0.9, language: 0.9}}
    average: {kind: ema, decay: 0.99}
    steps: 100
    save_every: 10
"""


def write_data(folder: Path) -> None:
    clips = folder / "clips"
    clips.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for index in range(4):
        write_mp4(clips / f"{index}.mp4", rng.integers(0, 255, (6, 24, 32, 3), dtype=np.uint8), 6)
        rows += [
            {"video": f"{index}.mp4", "question": f"what is {q}?", "answer": f"it is {index + q}."}
            for q in range(3)
        ]
    (clips / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")


def kill_training_after_its_first_checkpoint(folder: Path) -> None:
    work = folder / "cut" / "run" / "01-a" / "work"
    training = Command("train", folder / "recipe.yaml", "--runs", folder / "cut", "--workers", "0")
    assert stop_when(lambda: list(work.glob("checkpoint-*")), training) == -signal.SIGKILL


def kill_it_again_while_it_saves(folder: Path) -> None:
    work = folder / "cut" / "run" / "01-a" / "work"
    words = ("train", folder / "recipe.yaml", "--runs", folder / "cut", "--workers", "0", "--resume")

    def saves() -> bool:
        # It may be missed: a checkpoint is written in milliseconds.
        return any(work.glob(".checkpoint-*")) or any(work.glob("checkpoint-000001*"))

    assert stop_when(saves, Command(*words)) == -signal.SIGKILL


@pytest.mark.timeout(900)  # it starts a process, which imports torch; that takes long on a busy machine
def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    write_data(tmp_path)
    kill_training_after_its_first_checkpoint(tmp_path)
    kill_it_again_while_it_saves(tmp_path)
    assert not (tmp_path / "cut" / "run" / "01-a" / "model").exists()

    recipe = load_recipe(tmp_path / "recipe.yaml")
    with one_thread():
        whole = train(recipe, tmp_path / "whole", silent, workers=0)
        resumed = train(recipe, tmp_path / "cut", silent, workers=0, resume=True)
    left, right = (load_file(run / "01-a" / "model" / "model.safetensors") for run in (whole, resumed))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_that_is_killed_twenty_times_ends_with_the_same_weights(tmp_path: Path) -> None:
    """At random moments, while it begins, learns and saves."""
    write_data(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("save_every: 10", "save_every: 2"))
    told, errors = tmp_path / "met.json", tmp_path / "errors.txt"
    job = Forked(kill_often, recipe, tmp_path / "runs", 20, 3, told, told=(None, errors))
    assert job.wait(600) == 0, errors.read_text()
    met = json.loads(told.read_text(encoding="utf-8"))["met"]
    assert all(one["killed"] for one in met), "the run was over before all kills"
    assert len({one["step"] for one in met}) > 5
    whole, cut = (
        load_file(tmp_path / "runs" / runs / "run" / "01-a" / "model" / "model.safetensors")
        for runs in ("whole", "cut")
    )
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
