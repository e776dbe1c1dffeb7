"""`vidapt parity` of a run and its exports: prompts and answers are the same, or what differs is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import torch
from qwen2_vl_tools import oracle_of, save
from test_qwen2_vl_folders import bytes_tokenizer
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.hub import open_checkpoint
from vidapt.loading import export_model
from vidapt.models.folder import save_model
from vidapt.recipe import LoRA
from vidapt.video import write_mp4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with adapters on Qwen2-VL; `a.mp4` lies beside it."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = bytes_tokenizer()
    published = save(
        oracle_of(vocabulary=len(tokenizer), image_token_id=260, video_token_id=261), folder / "published"
    )
    tokenizer.save_pretrained(published)
    write_mp4(folder / "a.mp4", tools.film(9, 48, 80).numpy(), 3)
    model, tokenizer, _ = open_checkpoint(published)
    model.adapt("language", LoRA(rank=2, alpha=6, targets=("q_proj", "v_proj")))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.3)
    save_model(folder / "model", model, tokenizer, {})
    return folder / "model"


def compared(run: Path, against: Path, *more: str) -> tuple[int, Any]:
    asked = ["--clip", str(run.parent / "a.mp4"), "--question", "What happens?", "--question", "Who wins?"]
    done = CliRunner().invoke(
        app, ["parity", str(run), "--against", str(against), *asked, "--max-tokens", "6", "--json", *more]
    )
    return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else done.output


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_exports_read_and_say_the_same(run: Path, tmp_path: Path) -> None:
    published = run.parent / "published"
    export_model(published, tmp_path / "hf", to="hf", dtype="float32")
    status, found = compared(published, tmp_path / "hf")
    assert status == 0, found
    assert found["same"] == 2
    assert all(row["compared"] == "tokens" for row in found["rows"])
    # The base alone says something else, and what was rounded may: the prompts are the same.
    status, found = compared(run, published)
    assert status == 1
    assert {row["difference"]["kind"] for row in found["rows"] if row["difference"]} == {"answer"}
    pytest.importorskip("compressed_tensors")
    export_model(published, tmp_path / "int8", to="hf", dtype="float32", bits="int8")
    status, found = compared(published, tmp_path / "int8")
    assert status in (0, 1)
    assert {row["difference"]["kind"] for row in found["rows"] if row["difference"]} <= {"answer"}
    status, found = compared(run, tmp_path / "hf", "--served", "mine")
    assert status == 2
    assert "is a folder" in found
