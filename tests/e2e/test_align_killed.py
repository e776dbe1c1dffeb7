"""`vidapt train` of a dual encoder, killed without warning and resumed."""

from __future__ import annotations

import json
import random
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
vocabulary: 270
dual:
  tower:
    kind: clip_vip
    added: 2
    frames: 3
    arch:
      model_type: clip_vision_model
      hidden_size: 16
      intermediate_size: 24
      num_hidden_layers: 2
      num_attention_heads: 2
      image_size: 16
      patch_size: 8
  text:
    arch:
      model_type: clip_text_model
      hidden_size: 12
      intermediate_size: 24
      num_hidden_layers: 2
      num_attention_heads: 2
      max_position_embeddings: 20
      attention_dropout: 0.1
  width: 8
  frames: {policy: uniform, count: 3}
stages:
  - name: a
    data: [{path: clips/labels.jsonl}]
    retrieval: {in_domain: clips/labels.jsonl}
    objective:
      kind: align
      terms:
        - {kind: contrastive}
        - {kind: local_align, weight: 0.5}
    train: {towers: full}
    pairs: {alike: text, similar: 0.75}
    batching: {clips: 3, questions: 1}
    optimizer: {rates: {towers: 1.0e-3, text: 1.0e-3, projections: 1.0e-3}}
    steps: 120
    save_every: 5
"""


def write_data(folder: Path) -> None:
    clips = folder / "clips"
    clips.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for index in range(5):
        write_mp4(clips / f"{index}.mp4", rng.integers(0, 255, (6, 24, 32, 3), dtype=np.uint8), 6)
        rows += [{"video": f"{index}.mp4", "caption": f"clip {index} {part}"} for part in ("now", "then")]
    (clips / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")


def kill_at_a_random_step(folder: Path) -> None:
    training = Command("train", folder / "recipe.yaml", "--runs", folder / "cut", "--workers", "0")
    wanted = random.randint(1, 12) * 5
    status = stop_when(lambda: _newest(folder) >= wanted, training, after=random.random() * 0.05)
    assert status == -signal.SIGKILL


def _newest(folder: Path) -> int:
    found = (folder / "cut" / "run" / "01-a" / "work").glob("checkpoint-*")
    return max((int(path.name.rpartition("-")[2]) for path in found), default=-1)


@pytest.mark.timeout(900)  # it starts a process, which imports torch; that takes long on a busy machine
def test_a_killed_alignment_resumes_to_the_same_weights(tmp_path: Path) -> None:
    write_data(tmp_path)
    kill_at_a_random_step(tmp_path)
    assert not (tmp_path / "cut" / "run" / "01-a" / "model").exists()

    recipe = load_recipe(tmp_path / "recipe.yaml")
    with one_thread():
        whole = train(recipe, tmp_path / "whole", silent, workers=0)
        resumed = train(recipe, tmp_path / "cut", silent, workers=0, resume=True)
    for name in ("model", "best-in_domain"):
        left, right = (load_file(run / "01-a" / name / "model.safetensors") for run in (whole, resumed))
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)
    logs = [(run / "01-a" / "work" / "metrics.jsonl").read_text() for run in (whole, resumed)]
    assert logs[0] == logs[1]
