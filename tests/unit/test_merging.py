"""Merged is unmerged: proven at every merge, and refused where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_tools import tokenizer, video_lm
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import export_merged
from vidapt.loading import export_model
from vidapt.models import adapters
from vidapt.models.adapters import at_scale, bake_scale, merged_model, replace_adapters
from vidapt.models.folder import open_folder, read_card, save_model
from vidapt.models.merging import Sequences, Trace
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import LoRA

IDS = [5, 80, 260, 7, 31]
BOTH = {"adapters": {"rank": 4, "alpha": 8}, "tower_adapters": {"rank": 2, "alpha": 4}}


def adapted(dtype: torch.dtype = torch.float32) -> VideoLM:
    model = video_lm(**BOTH)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.2)
    return model.to(dtype)


def logits(model: VideoLM) -> torch.Tensor:
    clip = torch.arange(3 * 16 * 16 * 3).reshape(3, 16, 16, 3).remainder(251).to(torch.uint8)
    with torch.no_grad():
        return model.logits([-1, *IDS], [clip])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_merged_model_computes_the_same(dtype: torch.dtype) -> None:
    model = adapted(dtype)
    plain = merged_model(model, tokenizer())
    assert not any(".lora_" in name for name in plain.state_dict())
    near = 0.2 if dtype == torch.bfloat16 else 1e-3
    torch.testing.assert_close(logits(plain), logits(model), rtol=near, atol=near)


def test_what_is_read_as_a_proof_is_text_and_a_moving_picture() -> None:
    model = adapted()
    read = Sequences.of(model, tokenizer())
    assert [sum(token < 0 for token in ids) for ids in read.ids] == [0, 0, 1]
    assert read.clips[2][0].shape == (3, 256, 256, 3)
    names = set(Trace.of(model, read).layers)
    assert any(name.startswith("towers.") for name in names)
    assert any(name.startswith("language.") for name in names)


@pytest.mark.parametrize(
    "spoilt", ["language.model.layers.1.mlp.up_proj", "towers.0.net.encoder.layers.0.mlp"]
)
def test_a_merge_that_goes_wrong_names_its_layer_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    model = adapted()
    right, calls = adapters.merged_state, []

    def wrong(given: VideoLM) -> dict[str, torch.Tensor]:
        state = right(given)
        name = next(
            key for key in state if key.startswith(spoilt) and ("up_proj" in key or "fc1.weight" in key)
        )
        calls.append(name.removesuffix(".weight"))
        state[name] = state[name] * 1.05
        return state

    monkeypatch.setattr(adapters, "merged_state", wrong)
    with pytest.raises(CheckpointError, match="computes something else") as caught:
        export_merged(tmp_path / "out", model, tokenizer(), {})
    assert str(caught.value).startswith(calls[0])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("asked", [LoRA(rank=4, alpha=2), LoRA(rank=3)])
def test_adapters_that_are_replaced_are_proven_too(monkeypatch: pytest.MonkeyPatch, asked: LoRA) -> None:
    model = adapted()
    before = logits(model)
    replace_adapters(model, asked)
    torch.testing.assert_close(logits(model), before, rtol=1e-3, atol=1e-4)
    spoilt = adapted()
    monkeypatch.setattr(adapters, "added", lambda weight, change: weight)
    monkeypatch.setattr(adapters, "_fill", lambda *tensors: None)
    with pytest.raises(CheckpointError, match=r"language\.model\.layers.*computes something else"):
        replace_adapters(spoilt, asked)


def test_the_proof_draws_no_random_numbers_and_leaves_modes_as_they_were() -> None:
    model = adapted()
    model.language.train()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    Trace.of(model, Sequences.of(model)).check(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes


def test_a_scale_lies_between_the_model_without_adapters_and_with_them() -> None:
    model, bare = adapted(), adapted()
    with torch.no_grad():
        for name, weight in bare.named_parameters():
            if ".lora_B" in name:
                weight.zero_()
    whole = logits(model)
    with at_scale(model, 0.0):
        torch.testing.assert_close(logits(model), logits(bare))
    with at_scale(model, 0.25):
        quarter = logits(model)
    assert torch.equal(logits(model), whole), "it is put back"
    bake_scale(model, 0.25)
    torch.testing.assert_close(logits(model), quarter)
    torch.testing.assert_close(logits(merged_model(model, tokenizer())), quarter, rtol=1e-3, atol=1e-4)


def test_a_chosen_scale_is_baked_by_export(tmp_path: Path) -> None:
    model = adapted()
    save_model(tmp_path / "model", model, tokenizer(), {"stage": "a"})
    args = ["export", str(tmp_path / "model"), "--to", "merged", "--lora-scale", "0.25"]
    done = CliRunner().invoke(app, [*args, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    found, _ = open_folder(tmp_path / "out")
    with at_scale(model, 0.25):
        torch.testing.assert_close(logits(found), logits(model), rtol=1e-3, atol=1e-4)
    assert read_card(tmp_path / "out")["lora_scale"] == 0.25
    with pytest.raises(ConfigError, match="has no adapters"):
        export_model(tmp_path / "out", tmp_path / "again", to="merged", dtype="float32", lora_scale=0.5)
    assert not (tmp_path / "again").exists()
