"""Optimizers in less memory: what they keep, that they resume to the same bits, and what is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_tools import assert_equal, recipe, silent, stage, trained, video_lm, write_clips

from vidapt.errors import ConfigError
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Optimizer, Trained
from vidapt.training.checkpoint import StageProgress, load_checkpoint, save_checkpoint
from vidapt.training.freeze import set_trainable
from vidapt.training.optimizer import make_optimizer
from vidapt.training.run import train

pytest.importorskip("bitsandbytes")
KINDS = pytest.mark.parametrize("kind", ["adamw_8bit", "adamw_offload"])


def stepped(model: Any, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()


def wide() -> Any:
    """Word embeddings of more numbers than are kept in full in any case."""
    model = video_lm(language={"vocab_size": 1000})
    set_trainable(model, Trained())
    return model


def made(model: Any, kind: str) -> torch.optim.Optimizer:
    settings = Optimizer.model_validate({"kind": kind, "rates": {"language": 1e-2, "connector": 1e-2}})
    return make_optimizer(model, NextToken(NextToken.Config()), settings)


@KINDS
def test_its_state_goes_through_a_checkpoint_bit_for_bit(tmp_path: Path, kind: str) -> None:
    objective = NextToken(NextToken.Config())
    whole, cut, again = wide(), wide(), wide()
    stepped(whole, made(whole, kind), 5)
    optimizer = made(cut, kind)
    stepped(cut, optimizer, 3)
    save_checkpoint(tmp_path, cut, objective, optimizer, StageProgress(step=3))
    resumed = made(again, kind)
    load_checkpoint(tmp_path / "checkpoint-00000003", again, objective, resumed)
    stepped(again, resumed, 2, first=3)
    assert_equal(dict(again.named_parameters()), dict(whole.named_parameters()))


def test_eight_bits_are_a_quarter_and_nearly_the_same() -> None:
    few, full = wide(), wide()
    eight, plain = made(few, "adamw_8bit"), made(full, "adamw")
    stepped(few, eight, 3)
    stepped(full, plain, 3)
    assert bytes_of(eight, few.language.lm_head.weight) < 0.3 * bytes_of(plain, full.language.lm_head.weight)
    ours, theirs = few.language.lm_head.weight, full.language.lm_head.weight
    assert 0 < float((ours - theirs).detach().norm() / theirs.detach().norm()) < 0.01


def bytes_of(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> int:
    kept = optimizer.state[weight].values()
    return sum(one.nbytes for one in kept if isinstance(one, torch.Tensor) and one.numel() > 256)


@KINDS
def test_a_stage_is_killed_and_goes_on_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    labels = write_clips(tmp_path / "clips", clips=3, questions=2)
    settings = {"kind": kind, "rates": {"language": 1e-2, "connector": 1e-2}}
    plan = recipe(stage(labels, steps=4, save_every=1, optimizer=settings))
    expected = trained(plan, tmp_path / "whole")

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("a", 3):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan, tmp_path / "cut", report, workers=0)
    assert_equal(trained(plan, tmp_path / "cut", resume=True), expected)


@KINDS
def test_without_the_library_it_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    labels = write_clips(tmp_path / "clips", clips=1, questions=1)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    plan = recipe(stage(labels, "a"), stage(labels, "b", optimizer={"kind": kind}))
    with pytest.raises(ConfigError, match=rf"stage b, optimizer\.kind: {kind} needs bitsandbytes") as told:
        train(plan, tmp_path / "runs", silent, workers=0)
    assert "pip install 'vidapt[quant]', or use `adamw`" in str(told.value)
    assert not (tmp_path / "runs" / "run" / "01-a").exists()
