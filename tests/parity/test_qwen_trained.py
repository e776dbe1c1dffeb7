"""Qwen2.5-VL, Qwen3-VL and Qwen3.5 go back to transformers once trained, with the same logits there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import qwen_tools as qwen
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.hub import open_checkpoint
from vidapt.video import write_mp4

PARTS: dict[str, dict[str, Any]] = {
    "full": {"towers": "full", "connector": "full", "language": "full"},
    "adapters": {
        "towers": "frozen",
        "connector": "full",
        "language": "lora",
        "lora": {"rank": 2, "alpha": 4, "targets": "all-linear"},
    },
}


def command(*asked: str) -> str:
    result = CliRunner().invoke(app, list(asked))
    assert result.exit_code == 0, result.output
    return result.stdout


def recipe(folder: Path, model: Path, how: str) -> Path:
    write_mp4(folder / "a.mp4", tools.film(9, 48, 80).numpy(), 3)
    write_mp4(folder / "b.mp4", tools.film(12, 40, 40, seed=5).numpy(), 3)
    rows = [
        {"video": f"{clip}.mp4", "question": question, "answer": answer}
        for clip in "ab"
        for question, answer in (("What moves?", "A patch."), ("Where to?", "To the right."))
    ]
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    rates = {part: 3e-3 for part, kind in PARTS[how].items() if kind in ("full", "lora")}
    stage = {
        "name": "adapt",
        "steps": 3,
        "train": PARTS[how],
        "optimizer": {"rates": rates},
        "batching": {"clips": 2, "questions": 2},
    }
    path = folder / "recipe.yaml"
    written = {"name": "run", "start": str(model), "data": str(folder / "labels.jsonl"), "stages": [stage]}
    path.write_text(yaml.safe_dump(written))
    return path


@pytest.mark.parametrize("how", PARTS)
@pytest.mark.parametrize("family", qwen.MAKERS)
def test_a_trained_folder_is_written_back_for_transformers(family: str, how: str, tmp_path: Path) -> None:
    published = qwen.save(family, qwen.oracle_of(family), tmp_path / "published")
    before = qwen.ours(open_checkpoint(published)[0], [[qwen.CLIP]])
    path = recipe(tmp_path, published, how)
    run = command("train", str(path), "--runs", str(tmp_path / "runs"), "--workers", "0").split()[-1]
    command("export", run, "--out", str(tmp_path / "out"), "--to", "hf", "--dtype", "float32")
    asked = ("ask", str(tmp_path / "a.mp4"), "What moves?", "--model")
    assert command(*asked, run).strip() == command(*asked, str(tmp_path / "out")).strip()
    back, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    model, _, _ = open_checkpoint(tmp_path / "out")
    found = qwen.ours(model, [[qwen.CLIP], [qwen.STILL]])
    assert (found[:1] - before).abs().max() > 100 * tools.TOLERANCE
    theirs = qwen.expected(family, back.eval(), model, [[qwen.CLIP], [qwen.STILL]])
    torch.testing.assert_close(found, theirs, atol=tools.TOLERANCE, rtol=0)
    names = [set(load_file(folder / "model.safetensors")) for folder in (published, tmp_path / "out")]
    assert names[0] == names[1]


def test_what_is_added_deeper_down_is_trained(tmp_path: Path) -> None:
    published = qwen.save("qwen3_vl", qwen.oracle_of("qwen3_vl"), tmp_path / "published")
    path = recipe(tmp_path, published, "full")
    run = command("train", str(path), "--runs", str(tmp_path / "runs"), "--workers", "0").split()[-1]
    command("export", run, "--out", str(tmp_path / "out"), "--to", "hf", "--dtype", "float32")
    first, last = (load_file(folder / "model.safetensors") for folder in (published, tmp_path / "out"))
    moved = [key for key in first if not torch.equal(first[key], last[key])]
    for level in (0, 1):
        assert f"model.visual.deepstack_merger_list.{level}.linear_fc1.weight" in moved
    assert "model.visual.blocks.0.attn.qkv.weight" in moved
    assert "model.visual.pos_embed.weight" in moved
