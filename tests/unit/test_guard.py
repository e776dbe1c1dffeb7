"""A step that is not finite is left out, told with the place it comes from, and soon the last one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_tools import Asked, Pair, batches_of, quiet, saved, stage, work_of
from torch import nn
from training_tools import assert_equal, recipe, silent, trained, video_lm, write_clips
from training_tools import stage as stage_of

from vidapt.errors import VidaptError
from vidapt.models.video_lm import VideoLM
from vidapt.objectives import Loss
from vidapt.objectives.next_token import Part as NextToken
from vidapt.training.faults import Fault, module_at_fault
from vidapt.training.run import train
from vidapt.training.stage import DivergedError, fit

NAN = math.nan


def left_out(folder: Path) -> list[dict[str, Any]]:
    file = folder / "faults.jsonl"
    return (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    )


def learn(
    folder: Path,
    losses: Sequence[float],
    *,
    objective: nn.Module | None = None,
    stop: int = 0,
    **changes: Any,
) -> tuple[float, dict[str, Any], list[str]]:
    """The weight that was learned, what the stage tells of it, and what was told on the way."""
    model, heard = Pair(), list[str]()

    def report(done: int, total: int, loss: float) -> None:
        if done == stop:
            raise RuntimeError("power cut")

    given = stage(steps=len(losses), save_every=1, **changes)
    batches = batches_of(list(losses))
    work = work_of(folder, stage=given, batches=batches, objective=objective or Asked(), tell=heard.append)
    told = fit(model, work, report)
    return float(model.connector.weight.detach()), told, heard


def test_a_step_that_is_not_finite_changes_nothing_and_is_told(tmp_path: Path) -> None:
    with_it, told, heard = learn(tmp_path / "a", [1.0, NAN, 1.0])
    without, _, _ = learn(tmp_path / "b", [1.0, 1.0])
    assert with_it == pytest.approx(without, abs=1e-9)
    assert told["skipped"] == 1
    assert told["loss"] == 1.0
    assert heard == ["step 2 is left out: the loss is nan, first in objective"]
    assert left_out(tmp_path / "a") == [{"step": 2, "found": "the loss is nan", "where": "objective"}]
    assert left_out(tmp_path / "b") == []


@pytest.mark.parametrize("most", [1, 2, 3])
def test_so_many_in_a_row_are_the_end(tmp_path: Path, most: int) -> None:
    row = [1.0, *[NAN] * (most - 1), 1.0, *[math.inf] * most, 1.0]
    with pytest.raises(DivergedError) as told:
        learn(tmp_path, row, guard=most)
    assert f"step {len(row) - 1}: the loss is inf" in str(told.value)
    assert ("in a row" in str(told.value)) == (most > 1)
    assert len(left_out(tmp_path)) == 2 * (most - 1)


def test_a_resumed_run_remembers_how_many_there_were_in_a_row(tmp_path: Path) -> None:
    losses = [1.0, NAN, NAN, NAN, 1.0]
    with pytest.raises(RuntimeError, match="power cut"):
        learn(tmp_path, losses, stop=3)
    assert saved(tmp_path) == [2, 3]
    with pytest.raises(DivergedError, match=r"step 4.*3 steps in a row"):
        learn(tmp_path, losses)
    assert [row["step"] for row in left_out(tmp_path)] == [2, 3]


def test_lines_of_steps_that_are_done_again_are_cut(tmp_path: Path) -> None:
    losses = [1.0, NAN, 1.0, NAN, 1.0]
    with pytest.raises(RuntimeError, match="power cut"):
        learn(tmp_path, losses, stop=4)
    for name in ("checkpoint-00000004", "checkpoint-00000003"):
        for file in (tmp_path / name).iterdir():
            file.unlink()
        (tmp_path / name).rmdir()
    learn(tmp_path, losses)
    assert [row["step"] for row in left_out(tmp_path)] == [2, 4]


def test_a_weight_that_is_not_finite_is_the_end_at_once(tmp_path: Path) -> None:
    class Spoiling(Asked):
        def after_step(self, model: Pair) -> None:
            with torch.no_grad():
                model.connector.weight.fill_(math.inf)

    given = stage(steps=5, save_every=100)
    work = work_of(tmp_path, stage=given, objective=Spoiling())
    with pytest.raises(DivergedError, match=r"step 2: connector\.weight is not finite any more"):
        fit(Pair(), work, quiet)


def test_looking_for_the_fault_draws_what_the_step_drew_and_leaves_no_trace(tmp_path: Path) -> None:
    plain, spoilt = Asked(), Asked()
    learn(tmp_path / "a", [1.0, 1.0, 1.0], objective=plain)
    learn(tmp_path / "b", [1.0, NAN, 1.0], objective=spoilt)
    first, second, third = plain.chance
    assert spoilt.chance == [first, second, second, third]


class Steep(Asked):
    """A finite loss whose gradient is not, at one step."""

    def forward(self, model: Pair, batch: float) -> Loss:
        loss = super().forward(model, abs(batch))
        if batch < 0:
            loss.total.register_hook(lambda slope: slope * math.nan)
        return loss


def test_a_gradient_that_is_not_finite_is_told_by_its_weight(tmp_path: Path) -> None:
    with_it, _, heard = learn(tmp_path / "a", [1.0, -1.0, 1.0], objective=Steep())
    assert heard == ["step 2 is left out: the gradient's length is nan, first in connector.weight"]
    assert with_it == pytest.approx(learn(tmp_path / "b", [1.0, 1.0])[0], abs=1e-9)


@pytest.mark.parametrize(
    "place", ["towers.0.net.encoder.layers.0.mlp.fc1", "language.model.layers.1.self_attn"]
)
def test_the_first_module_at_fault_is_named(place: str) -> None:
    model = video_lm()

    def spoil(module: nn.Module, given: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        spoilt = torch.full_like(first, math.nan)
        return (spoilt, *output[1:]) if isinstance(output, tuple) else spoilt

    hook = model.get_submodule(place).register_forward_hook(spoil)
    learner = nn.ModuleDict({"model": model})
    clip = torch.zeros(3, 16, 16, 3, dtype=torch.uint8)
    assert module_at_fault(learner, lambda: model.logits([5, -1, 6], [clip])) == place
    hook.remove()
    assert module_at_fault(learner, lambda: model.logits([5, -1, 6], [clip])) == ""
    hooks = [hook for module in model.modules() for hook in module._forward_hooks.values()]
    assert hooks == []


def test_what_is_told_names_the_place_if_there_is_one() -> None:
    assert str(Fault("the loss is nan", "objective")) == "the loss is nan, first in objective"
    assert str(Fault("the loss is nan", "")) == "the loss is nan"


class Spoiled:
    """Makes the loss of a step no number: of the step whose loss was heard before, however often it comes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.heard: list[float] = []
        self.loss = math.inf
        forward = NextToken.forward

        def spoiling(part: NextToken, model: VideoLM, batch: Any) -> Loss:
            loss = forward(part, model, batch)
            self.heard.append(float(loss.total.detach()))
            return Loss(loss.total * NAN, loss.weight) if self.heard[-1] == self.loss else loss

        patch.setattr(NextToken, "forward", spoiling)


def test_a_run_with_a_step_left_out_is_killed_and_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for the fault computes the step again, with dropout: chance goes on as if it had not."""
    labels = write_clips(tmp_path / "clips", clips=3, questions=2)
    learns = {"language": "lora", "lora": {"rank": 2, "dropout": 0.5}}
    plan = recipe(stage_of(labels, steps=6, save_every=1, train=learns))
    spoiled = Spoiled(monkeypatch)
    trained(plan, tmp_path / "heard")
    spoiled.loss = spoiled.heard[2]
    expected = trained(plan, tmp_path / "whole")
    work = tmp_path / "whole" / "run" / "01-a" / "work"
    assert [row["step"] for row in left_out(work)] == [3]

    for cut in (2, 3, 4):
        runs = tmp_path / f"cut{cut}"

        def report(task: str, done: int, total: int, note: str = "", cut: int = cut) -> None:
            if (task, done) == ("a", cut):
                raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            train(plan, runs, report, workers=0)
        assert_equal(trained(plan, runs, resume=True), expected)
    guarded = stage_of(labels, steps=6, save_every=1, train=learns, guard=1)
    with pytest.raises(VidaptError, match="stage a, step 3"):
        train(recipe(guarded), tmp_path / "strict", silent, workers=0)
