"""Exports in eight bits open in transformers through compressed-tensors, and compute nearly the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anyres_tools as anyres
import internvl_tools as internvl
import parity_tools as tools
import pytest
import qwen_tools as qwen
import smolvlm_tools as smolvlm
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import open_checkpoint
from vidapt.inference.load import load
from vidapt.loading import export_model, open_model

pytest.importorskip("compressed_tensors")

Save = Callable[[Path], Path]
SAVED: dict[str, Save] = {
    "llava": lambda folder: tools.save(tools.llava(), folder),
    "llava_next_video": lambda folder: anyres.save(
        anyres.next_video_model(), anyres.next_processor(), folder
    ),
    "internvl": lambda folder: internvl.save(internvl.oracle_of(), folder),
    "qwen2_5_vl": lambda folder: qwen.save("qwen2_5_vl", qwen.oracle_of("qwen2_5_vl"), folder),
    "smolvlm": lambda folder: smolvlm.save(smolvlm.oracle_of(), folder),
}
STEP = {"int8": 1 / 255, "fp8": 1 / 16}
"""Largest error of a weight as a share: of the largest of its row among whole numbers, of itself in E4M3."""
FAR = {"int8": 0.5, "fp8": 2.0}
"""How far logits of these random, much exaggerated weights may be off, in their standard deviations."""


@pytest.mark.parametrize(
    ("family", "bits"), [*((family, "int8") for family in SAVED), ("llava", "fp8"), ("qwen2_5_vl", "fp8")]
)
def test_transformers_opens_what_was_rounded(family: str, bits: str, tmp_path: Path) -> None:
    published = SAVED[family](tmp_path / "published")
    told = export_model(published, tmp_path / "out", to="hf", dtype="float32", bits=bits)  # type: ignore[arg-type]
    assert told is not None
    assert 0 < told.divergence < FAR[bits]
    plain, _ = AutoModelForImageTextToText.from_pretrained(published, output_loading_info=True)
    back, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = torch.tensor([[7, 8, 9, 10, 11, 12, 13]])
    with torch.no_grad():
        wanted, found = plain.eval()(input_ids=ids).logits, back.eval()(input_ids=ids).logits
    off = (found - wanted).abs().max() / wanted.std()
    assert 0 < off < FAR[bits]
    after = back.state_dict()
    changed = {name for name, weight in plain.state_dict().items() if not torch.equal(weight, after[name])}
    assert changed
    assert all(".layers." in name and name.endswith("proj.weight") for name in changed)
    for name in changed:
        weight = plain.state_dict()[name]
        largest = weight.abs().amax(1, keepdim=True)
        bound = largest if bits == "int8" else weight.abs().clamp_min(largest * 2**-6)
        assert ((after[name] - weight).abs() <= STEP[bits] * bound * 1.02).all()
    reading = json.loads((tmp_path / "out" / "vidapt_reading.json").read_text())
    assert reading["rounding"]["weights"] == bits
    assert reading["rounding"]["agreed"] == told.agreed


def test_the_weights_take_a_quarter_of_their_bytes(tmp_path: Path) -> None:
    published = SAVED["llava"](tmp_path / "published")
    sizes = {}
    for bits in (None, "int8", "fp8"):
        out = tmp_path / str(bits)
        export_model(published, out, to="hf", dtype="float32", bits=bits)  # type: ignore[arg-type]
        sizes[bits] = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    model = open_checkpoint(published)[0]
    matrices = sum(p.numel() for n, p in model.language.named_parameters() if n.endswith("proj.weight"))
    for bits in ("int8", "fp8"):
        assert sizes[None] - sizes[bits] > 0.6 * 3 * matrices


def test_nothing_learns_from_it(tmp_path: Path) -> None:
    published = SAVED["llava"](tmp_path / "published")
    args = ["export", str(published), "--out", str(tmp_path / "out"), "--weights", "int8", "--json"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rounding"]["positions"] > 10
    for opener in (open_checkpoint, open_model):
        with pytest.raises(CheckpointError, match="quantised weights cannot be adapted"):
            opener(tmp_path / "out")


@pytest.mark.parametrize("bits", ["int8", "fp8"])
def test_it_answers_here_with_the_weights_that_transformers_unpacks(bits: str, tmp_path: Path) -> None:
    published = SAVED["llava"](tmp_path / "published")
    export_model(published, tmp_path / "out", to="hf", dtype="float32", bits=bits)  # type: ignore[arg-type]
    ours = load(tmp_path / "out").model.language.state_dict()
    theirs = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    theirs(input_ids=torch.tensor([[7, 8, 9]]))  # unpacks them
    back = theirs.state_dict()
    exact = open_checkpoint(published)[0].language.state_dict()
    matrices = [name for name in ours if ".layers." in name and name.endswith("proj.weight")]
    assert matrices
    for name in matrices:
        unpacked = back[f"model.language_{name}"]
        torch.testing.assert_close(ours[name], unpacked, atol=1e-6, rtol=0)
        assert not torch.equal(ours[name], exact[name])
    file = tmp_path / "out" / "model.safetensors"
    held = load_file(file)
    for lost in ("weight_scale", "weight_packed" if bits == "int8" else "weight"):
        name = next(key for key in held if key.endswith(f"q_proj.{lost}") and "language" in key)
        save_file({k: v for k, v in held.items() if k != name}, file, metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match="belongs to no matrix"):
            load(tmp_path / "out")


def test_only_the_published_layout_has_few_bits(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="goes with --to hf"):
        export_model("billiards-home", tmp_path / "a", to="merged", dtype="float32", bits="int8")
    with pytest.raises(CheckpointError, match="not opened from a published checkpoint"):
        export_model("billiards-home", tmp_path / "a", to="hf", dtype="float32", bits="int8")
    assert not (tmp_path / "a").exists()
