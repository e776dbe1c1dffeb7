"""Mixtures of experts in Qwen3-VL and Qwen3.5, in every layout in which experts are stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import qwen_tools as qwen
import torch
from test_qwen_folders import put, state_of
from torch import Tensor
from transformers import AutoModelForImageTextToText

from vidapt.errors import CheckpointError
from vidapt.hub import open_checkpoint
from vidapt.loading import export_model

State = dict[str, Tensor]
EXPERTS = ".mlp.experts."


def together(state: State) -> State:
    """All experts of a layer in one tensor, [experts, out, in], as transformers computes with them."""
    apart = {key: x for key, x in state.items() if EXPERTS in key and x.ndim == 2}
    made = {key: x for key, x in state.items() if key not in apart}
    for place in {key.split(EXPERTS)[0] + EXPERTS for key in apart}:
        each = [
            [apart[f"{place}{n}.{kind}_proj.weight"] for kind in ("gate", "up", "down")] for n in range(4)
        ]
        made[f"{place}gate_up_proj"] = torch.stack([torch.cat([gate, up]) for gate, up, _ in each])
        made[f"{place}down_proj"] = torch.stack([down for _, _, down in each])
    return made


def apart(state: State) -> State:
    """Every expert's tensors by themselves."""
    made = {}
    for key, x in together(state).items():
        if EXPERTS not in key:
            made[key] = x
            continue
        place, _, kind = key.rpartition(".")
        for number, expert in enumerate(x):
            kinds = ("gate_proj", "up_proj") if kind == "gate_up_proj" else (kind,)
            for name, part in zip(kinds, expert.chunk(len(kinds)), strict=True):
                made[f"{place}.{number}.{name}.weight"] = part.contiguous()
    return made


def turned(state: State) -> State:
    """In one tensor with the last axes exchanged, as the files of Qwen3-VL-30B-A3B have them."""
    whole = together(state)
    return {key: x.transpose(1, 2).contiguous() if EXPERTS in key else x for key, x in whole.items()}


@pytest.mark.parametrize("layout", [together, apart, turned])
@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5"])
def test_logits_equal_transformers(family: str, layout: Callable[[State], State], tmp_path: Path) -> None:
    oracle = qwen.mixture_of(family)
    folder = qwen.save(family, oracle, tmp_path / "model")
    put(folder, layout(state_of(folder)))
    model, _, report = open_checkpoint(folder)
    assert report.family == family
    assert not report.ignored
    rows = [[qwen.STILL], [qwen.CLIP, qwen.OTHER]]
    theirs = qwen.expected(family, oracle, model, rows)
    assert theirs.std() > 0.5
    torch.testing.assert_close(qwen.ours(model, rows), theirs, atol=tools.TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5"])
def test_experts_swapped_break_parity(family: str, tmp_path: Path) -> None:
    oracle = qwen.mixture_of(family)
    folder = qwen.save(family, oracle, tmp_path / "model")
    put(
        folder,
        {k: x.flip(0) if "experts.down_proj" in k else x for k, x in together(state_of(folder)).items()},
    )
    model = open_checkpoint(folder)[0]
    theirs = qwen.expected(family, oracle, model, [[qwen.STILL]])
    assert (qwen.ours(model, [[qwen.STILL]]) - theirs).abs().max() > 100 * tools.TOLERANCE


def test_an_expert_too_few_is_told(tmp_path: Path) -> None:
    folder = qwen.save("qwen3_5", qwen.mixture_of("qwen3_5"), tmp_path / "model")
    put(folder, {k: x for k, x in apart(state_of(folder)).items() if "layers.0.mlp.experts.3.up" not in k})
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp\.experts\.gate_up_proj"):
        open_checkpoint(folder)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5"])
def test_a_mixture_goes_back_as_it_was_released(family: str, tmp_path: Path) -> None:
    published = qwen.save(family, qwen.mixture_of(family), tmp_path / "published")
    released: Any = turned if family == "qwen3_vl" else together
    put(published, released(state_of(published)))
    export_model(published, tmp_path / "out", to="hf", dtype="float32")
    held, written = state_of(published), state_of(tmp_path / "out")
    assert set(held) == set(written)
    assert all(torch.equal(x, written[key]) for key, x in held.items())
    back, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    model = open_checkpoint(tmp_path / "out")[0]
    theirs = qwen.expected(family, back.eval(), model, [[qwen.CLIP]])
    torch.testing.assert_close(qwen.ours(model, [[qwen.CLIP]]), theirs, atol=tools.TOLERANCE, rtol=0)
