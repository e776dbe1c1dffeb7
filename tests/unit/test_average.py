"""The mean of the weights over the steps: its equation, how it is kept, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_tools import Asked, Pair, batches_of, quiet, stage, work_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from vidapt.errors import CheckpointError
from vidapt.recipe import Average
from vidapt.training.average import RunningAverage
from vidapt.training.stage import fit

STEPS = 8


class Paced(Asked):
    """Sets the weight to a step's number squared, so that every mean of it is known."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def forward(self, model: Any, batch: float) -> Any:
        self.number = int(batch) if batch == batch else -1
        return super().forward(model, batch)

    def after_step(self, model: Pair) -> None:
        with torch.no_grad():
            model.connector.weight.fill_(float(self.number + 1) ** 2)


def learned(folder: Path, average: dict[str, Any], *, stop: int = 0, **changes: Any) -> float:
    def report(done: int, total: int, loss: float) -> None:
        if done == stop:
            raise RuntimeError("power cut")

    model = Pair()
    given = stage(steps=STEPS, save_every=2, average=average)
    fit(model, work_of(folder, stage=given, objective=Paced(), **changes), report)
    return float(model.connector.weight.detach())


def squares(first: int, last: int) -> float:
    return sum(n**2 for n in range(first, last + 1)) / (last + 1 - first)


@pytest.mark.parametrize(
    ("begin", "wanted"),
    [(0.75, squares(7, 8)), (0.5, squares(5, 8)), (0.0, squares(1, 8)), (0.99, 64.0), (0.7, squares(6, 8))],
)
def test_a_plain_mean_is_that_of_the_steps_behind_its_beginning(
    tmp_path: Path, begin: float, wanted: float
) -> None:
    assert learned(tmp_path, {"kind": "swa", "from": begin}) == pytest.approx(wanted)


@pytest.mark.parametrize("decay", [0.05, 0.3, 0.999])
def test_a_fading_mean_goes_by_its_equation(tmp_path: Path, decay: float) -> None:
    mean = 1.0  # where the weight began
    for count in range(STEPS):
        stays = min(decay, (1 + count) / (10 + count))
        mean = stays * mean + (1 - stays) * (count + 1) ** 2
    assert learned(tmp_path, {"kind": "ema", "decay": decay}) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("average", [{"kind": "ema", "decay": 0.9}, {"kind": "swa", "from": 0.3}], ids=str)
@pytest.mark.parametrize("stop", [1, 2, 3, 6, STEPS])
def test_it_is_kept_and_gone_on_with(tmp_path: Path, average: dict[str, Any], stop: int) -> None:
    expected = learned(tmp_path / "whole", average)
    with pytest.raises(RuntimeError, match="power cut"):
        learned(tmp_path / "cut", average, stop=stop)
    assert learned(tmp_path / "cut", average) == expected


def test_steps_that_are_left_out_do_not_count(tmp_path: Path) -> None:
    losses: list[Any] = [0.0, 1.0, None, float("nan"), 4.0, 5.0, 6.0, 7.0]
    found = learned(tmp_path, {"kind": "swa", "from": 0.0}, batches=batches_of(losses))
    assert found == pytest.approx((1 + 4 + 25 + 36 + 49 + 64) / 6)


def test_what_is_measured_is_the_mean_and_what_learns_is_not(tmp_path: Path) -> None:
    model, measured, learns = Pair(), list[float](), list[float]()

    def measure(step: int) -> dict[str, float]:
        measured.append(float(model.connector.weight.detach()))
        return {}

    def report(done: int, total: int, loss: float) -> None:
        learns.append(float(model.connector.weight.detach()))

    given = stage(steps=4, save_every=2, average={"kind": "swa", "from": 0.0})
    fit(model, work_of(tmp_path, stage=given, objective=Paced(), measure=measure), report)
    assert measured == pytest.approx([1.0, squares(1, 2), squares(1, 4)])
    assert learns == pytest.approx([1.0, 4.0, 9.0, 16.0])


def test_a_checkpoint_holds_both_and_a_damaged_mean_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        learned(tmp_path, {"kind": "swa", "from": 0.0}, stop=4)
    file = tmp_path / "checkpoint-00000004" / "average.safetensors"
    assert float(load_file(file)["connector.weight"]) == pytest.approx(squares(1, 4))
    assert float(load_file(file.with_name("trainable.safetensors"))["connector.weight"]) == 16.0
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata() == {"count": "4"}
    manifest = json.loads(next(file.parent.glob("*manifest*")).read_text(encoding="utf-8"))
    assert "average.safetensors" in manifest["files"]
    save_file({"other": torch.zeros(1)}, str(file), metadata={"count": "4"})
    with pytest.raises(CheckpointError, match=r"average\.safetensors: cannot be read"):
        learned(tmp_path, {"kind": "swa", "from": 0.0})


def test_a_mean_that_never_began_leaves_the_weights() -> None:
    weight = nn.Parameter(torch.ones(2))
    mean = RunningAverage(Average.model_validate({"kind": "swa", "from": 0.5}), {"a": weight}, 4)
    mean.update(2)
    with torch.no_grad():
        weight.fill_(7.0)
    mean.settle()
    assert weight.tolist() == [7.0, 7.0]


def test_without_a_mean_nothing_of_the_kind_is_kept(tmp_path: Path) -> None:
    fit(Pair(), work_of(tmp_path, stage=stage(steps=2)), quiet)
    assert list(tmp_path.rglob("average*")) == []
