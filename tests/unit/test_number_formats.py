"""Frozen matrices are kept in sixteen bits where that changes no number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_tools import recipe, stage, tokenizer, trained, video_lm, write_clips

from vidapt.models.folder import open_folder, save_model
from vidapt.models.video_lm import VideoLM
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Stage
from vidapt.training import number_formats
from vidapt.training.freeze import set_trainable
from vidapt.training.number_formats import settle_formats

LORA = {"language": "lora", "lora": {"rank": 2}}


def given(**changes: Any) -> Stage:
    fields = {"name": "a", "data": ["x.jsonl"], "steps": 1, "precision": "bfloat16", "train": LORA}
    return Stage.model_validate(fields | changes)


def rounded(dtype: torch.dtype) -> VideoLM:
    """A model that was stored in a format, read in float32."""
    return video_lm().to(dtype).float()


def formats(weights: Iterable[nn.Parameter]) -> set[torch.dtype]:
    return {weight.dtype for weight in weights}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_frozen_matrices_take_half_and_lose_nothing(dtype: torch.dtype) -> None:
    model, whole = rounded(dtype), rounded(dtype)
    before = sum(weight.nbytes for weight in model.language.model.layers.parameters())
    set_trainable(model, given().train)
    settle_formats(model, [given()])
    layers = [m for m in model.language.model.modules() if isinstance(m, nn.Linear)]
    bases = [m.weight for m in layers if not m.weight.requires_grad]
    assert len(bases) == 14
    assert formats(bases) == {dtype}
    assert formats(w for w in model.parameters() if w.requires_grad) == {torch.float32}
    assert formats([model.language.get_input_embeddings().weight, model.language.lm_head.weight]) == {
        torch.float32
    }
    assert sum(weight.nbytes for weight in bases) * 2 < before
    settle_formats(model, [given(train={"language": "full"})])
    for name, weight in whole.language.named_parameters():
        place, _, last = name.rpartition(".")
        now = model.language.get_submodule(place)
        assert torch.equal(getattr(getattr(now, "base_layer", now), last), weight)


def test_numbers_that_sixteen_bits_do_not_hold_stay() -> None:
    model = video_lm()
    settle_formats(model, [given()])
    assert formats(model.parameters()) == {torch.float32}


@pytest.mark.parametrize(
    "stages",
    [
        [given(precision="float32")],
        [given(train={"language": "full"})],
        [given(), given(train={"language": "full"})],
    ],
    ids=["float32", "trained", "trained later"],
)
def test_what_is_needed_otherwise_stays(stages: list[Stage]) -> None:
    model = rounded(torch.bfloat16)
    settle_formats(model, stages)
    assert formats(model.parameters()) == {torch.float32}


def test_a_stage_learns_the_same_with_small_matrices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = write_clips(tmp_path / "clips", clips=2, questions=2)
    model = rounded(torch.bfloat16)
    save_model(tmp_path / "start", model, tokenizer(), {}, torch.bfloat16)
    assert formats(open_folder(tmp_path / "start")[0].parameters()) == {torch.float32}
    seen: set[torch.dtype] = set()
    forward = NextToken.forward

    def heard(self: NextToken, model: Any, batch: Any) -> Any:
        seen.add(model.language.model.layers[0].mlp.up_proj.weight.dtype)
        return forward(self, model, batch)

    monkeypatch.setattr(NextToken, "forward", heard)
    changes = {"steps": 3, "precision": "bfloat16", "train": {"language": "frozen"}}
    plan = recipe(stage(labels, **changes), blueprint=None, start=str(tmp_path / "start"))
    small = trained(plan, tmp_path / "small")
    assert seen == {torch.bfloat16}
    seen.clear()
    monkeypatch.setattr("vidapt.training.run.settle_formats", lambda model, stages: None)
    monkeypatch.setattr("vidapt.training.stage_run.settle_formats", lambda model, stages: None)
    large = trained(plan, tmp_path / "large")
    assert seen == {torch.float32}
    assert all(torch.equal(small[name].float(), weight) for name, weight in large.items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_only_what_is_in_thirty_two_bits_is_made_smaller(dtype: torch.dtype) -> None:
    weight = torch.ones(2, 2, dtype=dtype)
    assert number_formats._small(weight) is weight
    assert number_formats._small(torch.ones(2, 2)).dtype == torch.bfloat16
