"""Several runs on one base: peft opens each on it with the run's logits; what no server does is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import parity_tools as tools
import pytest
import qwen_tools as qwen
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.hub import open_checkpoint
from vidapt.loading import open_model
from vidapt.models.folder import save_model
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import LoRA

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
SAVED: dict[str, Callable[[Path], Path]] = {
    "llava": lambda folder: tools.save(tools.llava(), folder),
    "llava_next_video": lambda folder: anyres.save(
        anyres.next_video_model(), anyres.next_processor(), folder
    ),
    "qwen2_5_vl": lambda folder: qwen.save("qwen2_5_vl", qwen.oracle_of("qwen2_5_vl"), folder),
}
IDS = [7, 8, 9, 10, 11, 12, 13]
FAR = 1e-4


def adapted(published: Path, folder: Path, seed: int, rank: int = 2, **more: LoRA) -> Path:
    model, tokenizer, _ = open_checkpoint(published)
    model.adapt("language", LoRA(rank=rank, alpha=3 * rank, targets=("q_proj", "v_proj")))
    for lora in more.values():
        model.adapt("towers", lora)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.3)
    save_model(folder, model, tokenizer, {})
    return folder


@torch.no_grad()
def logits(model: VideoLM) -> torch.Tensor:
    return model.logits(IDS)


def export(*args: object) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, args), "--to", "adapters", "--json"])


@pytest.mark.parametrize("family", SAVED)
def test_peft_opens_every_run_on_the_base(family: str, tmp_path: Path) -> None:
    published = SAVED[family](tmp_path / "published")
    runs = [
        adapted(published, tmp_path / name, seed, rank) for name, seed, rank in (("a", 1, 2), ("b", 2, 4))
    ]
    done = export(runs[0], f"second={runs[1]}", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "--max-lora-rank 4" in json.loads(done.stdout)["remarks"][0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"base", "a", "second"}
    base = AutoModelForImageTextToText.from_pretrained(tmp_path / "out" / "base").eval()
    ids = torch.tensor([IDS])
    with torch.no_grad():
        bare = base(input_ids=ids).logits[0]
    torch.testing.assert_close(bare, logits(open_model(published)[0]), atol=FAR, rtol=0)
    wanted = {name: logits(open_model(run)[0]) for name, run in zip(("a", "second"), runs, strict=True)}
    served = PeftModel.from_pretrained(base, tmp_path / "out" / "a", adapter_name="a").eval()
    served.load_adapter(tmp_path / "out" / "second", adapter_name="second")
    for name in ("a", "second", "a"):
        served.set_adapter(name)
        with torch.no_grad():
            found = served(input_ids=ids).logits[0]
        torch.testing.assert_close(found, wanted[name], atol=FAR, rtol=0)
        assert (found - bare).abs().max() > 100 * FAR
    # And here, by the folder alone.
    again = open_model(tmp_path / "out" / "second")[0]
    torch.testing.assert_close(logits(again), wanted["second"], atol=FAR, rtol=0)


def test_adapters_of_towers_come_with_a_warning(tmp_path: Path) -> None:
    published = SAVED["llava"](tmp_path / "published")
    tower = LoRA(rank=3, alpha=3, targets=("q_proj",))
    run = adapted(published, tmp_path / "run", 1, towers=tower)
    done = export(run, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    remarks = json.loads(done.stdout)["remarks"]
    assert "--max-lora-rank 3" in remarks[0]
    assert "--enable-tower-connector-lora" in remarks[1]
    clip = tools.film(1, 28, 28)
    wanted = tools.our_logits(open_model(run)[0], [[clip]])
    base = AutoModelForImageTextToText.from_pretrained(tmp_path / "out" / "base")
    served = PeftModel.from_pretrained(base, tmp_path / "out" / "run").eval()
    ids = tools.their_ids([tools.CELLS**2], tools.IMAGE)
    with torch.no_grad():
        found = tools.at_after(served(input_ids=ids, pixel_values=tools.their_pixels(clip)).logits)
    torch.testing.assert_close(found, wanted, atol=FAR, rtol=0)


def test_runs_that_differ_in_more_are_refused(tmp_path: Path) -> None:
    published = SAVED["llava"](tmp_path / "published")
    one = adapted(published, tmp_path / "a", 1)
    model, tokenizer = open_model(adapted(published, tmp_path / "b", 2))
    with torch.no_grad():
        model.connector.mlp[0].bias += 1
    save_model(tmp_path / "b", model, tokenizer, {})
    done = export(one, tmp_path / "b", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "differs from a in more than adapters, such as connector.mlp.0.bias" in done.output
    for args, said in (
        ((one, one), "cannot be a name"),
        ((f"base={one}",), "cannot be a name"),
        ((f"../x={one}",), "cannot be a name"),
        ((published,), "has no adapters"),
        ((one, "--weights", "int8"), "rounds nothing"),
    ):
        done = export(*args, "--out", tmp_path / "out")
        assert done.exit_code == 2, done.output
        assert said in done.output
    assert not (tmp_path / "out").exists()
