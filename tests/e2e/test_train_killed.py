"""`vidapt train`, killed without warning and run again with `--resume`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

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
  connector: {kind: pool_mlp, pool: average}
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
    batching: {clips: 2, questions: 2}
    steps: 400
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


def command(folder: Path, runs: str, *more: str) -> list[str]:
    recipe, out = str(folder / "recipe.yaml"), str(folder / runs)
    vidapt = str(Path(sys.executable).parent / "vidapt")
    return [vidapt, "train", recipe, "--runs", out, "--workers", "0", *more]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def weights(folder: Path, runs: str) -> dict[str, Tensor]:
    return load_file(folder / runs / "run" / "01-a" / "model" / "model.safetensors")


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    write_data(tmp_path)
    subprocess.run(command(tmp_path, "whole"), check=True, capture_output=True, env=environment())

    work = tmp_path / "cut" / "run" / "01-a" / "work"
    running = subprocess.Popen(
        command(tmp_path, "cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    try:
        while not list(work.glob("checkpoint-*")):
            assert running.poll() is None, "training ended before its first checkpoint"
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
    assert not (tmp_path / "cut" / "run" / "01-a" / "model").exists()
    again = subprocess.run(command(tmp_path, "cut"), capture_output=True, text=True, env=environment())
    assert again.returncode != 0
    assert "--resume" in again.stderr

    subprocess.run(command(tmp_path, "cut", "--resume"), check=True, capture_output=True, env=environment())
    expected, resumed = weights(tmp_path, "whole"), weights(tmp_path, "cut")
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
