"""The length of a stage in samples, tokens or hours: what its steps really see, and what hours become."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from training_tools import assert_equal, recipe, silent, stage, trained, write_clips

from vidapt.errors import CheckpointError, ConfigError
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Recipe, Stage
from vidapt.training import pace as pace_module
from vidapt.training.order import Visit, total_steps
from vidapt.training.pace import Pace, kept_pace
from vidapt.training.possible import check_stage
from vidapt.training.run import train


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), clips=5, questions=3)


def long(labels: Path, length: dict[str, Any], **batching: Any) -> Recipe:
    given = {"clips": 2, **batching}
    return recipe(stage(labels, **{"steps": None, "save_every": 1, "batching": given, **length}))


def steps_of(run: Path) -> int:
    return int(json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]["01-a"]["steps"])


class Heard:
    """What every step was learned from."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.samples: list[int] = []
        self.tokens: list[int] = []
        forward = NextToken.forward

        def hear(part: NextToken, model: Any, batch: Any) -> Any:
            self.samples.append(len(batch.packed.sample.unique()))
            self.tokens.append(
                int(batch.packed.layout.valid.sum()) + int((batch.packed.layout.owner >= 0).sum())
            )
            return forward(part, model, batch)

        patch.setattr(NextToken, "forward", hear)


def first_to_reach(wanted: int, each: list[int]) -> int:
    return next(n for n, total in enumerate(itertools.accumulate(each), 1) if total >= wanted)


BATCHINGS: list[dict[str, Any]] = [
    {"blind": 0.0},
    {"blind": 0.5, "questions": 2},
    {"blind": 0.3, "shared_prefix": False},
]


@pytest.mark.parametrize("batching", BATCHINGS, ids=str)
@pytest.mark.parametrize("unit", ["samples", "tokens"])
def test_a_budget_ends_with_the_step_that_reaches_it(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str, batching: dict[str, Any]
) -> None:
    heard = Heard(monkeypatch)
    train(long(labels, {"steps": 9}, **batching), tmp_path / "listened", silent, workers=0)
    each = getattr(heard, unit)
    assert len(each) == 9
    for wanted in (1, each[0], each[0] + 1, sum(each[:4]), sum(each[:6]) - 1):
        plan = long(labels, {unit: wanted}, **batching)
        run = train(plan, tmp_path / f"{unit}-{wanted}", silent, workers=0)
        assert steps_of(run) == first_to_reach(wanted, each)


def test_one_step_is_the_least_and_epochs_are_counted_as_before() -> None:
    order = SimpleNamespace(steps_per_epoch=4, step=lambda number: [Visit(0, (0, 1)), Visit(1, (0,))])
    for wanted, steps in ((1, 1), (3, 1), (4, 2), (6, 2), (3000, 1000)):
        assert total_steps(Stage(name="a", samples=wanted), order) == steps
    assert total_steps(Stage(name="a", tokens=25), order, lambda visit: 5 * len(visit.samples)) == 2
    assert total_steps(Stage(name="a", epochs=2), order) == 8
    assert total_steps(Stage(name="a", hours=3), order) == 4
    with pytest.raises(ConfigError, match="stage a, tokens: cannot be counted here"):
        total_steps(Stage(name="a", tokens=5), order)
    empty = SimpleNamespace(steps_per_epoch=4, step=lambda number: [])
    with pytest.raises(ConfigError, match="an epoch has nothing to learn from"):
        total_steps(Stage(name="a", samples=5), empty)


def test_a_dual_encoder_reads_no_tokens_of_a_language_model() -> None:
    from align_tools import dual

    from vidapt.models.dual_encoder import DualEncoder
    from vidapt.recipe import DualBlueprint

    model = DualEncoder(DualBlueprint.model_validate(dual()))
    check_stage(model, Stage(name="a", samples=5))
    with pytest.raises(ConfigError, match="stage a, tokens: are those of a language model"):
        check_stage(model, Stage(name="a", tokens=5))
    few = Stage.model_validate({"name": "a", "steps": 1, "train": {"language": "frozen", "base": "8bit"}})
    with pytest.raises(ConfigError, match=r"stage a, train\.base"):
        check_stage(model, few)


class Clock:
    """A clock by which every step of a stage takes so long."""

    def __init__(self, patch: pytest.MonkeyPatch, seconds: list[float]) -> None:
        self.now, self.taken = 0.0, 0
        forward = NextToken.forward

        def slow(part: NextToken, model: Any, batch: Any) -> Any:
            self.now += seconds[min(self.taken, len(seconds) - 1)]
            self.taken += 1
            return forward(part, model, batch)

        patch.setattr(NextToken, "forward", slow)
        patch.setattr(pace_module.time, "monotonic", lambda: self.now)


def test_hours_become_steps_by_the_time_of_twenty_without_the_first(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first takes 60 seconds, others 3; of 0.1 hours 360 - 117 seconds are left, which are 81 steps."""
    hours = {"hours": 0.1, "save_every": 100}
    clock = Clock(monkeypatch, [60.0] + [3.0] * 200)
    monkeypatch.setattr(pace_module, "_SHARE", 1.0)
    found = trained(long(labels, hours), tmp_path / "hours")
    run = tmp_path / "hours" / "run"
    assert json.loads((run / "01-a" / "work" / "pace.json").read_text()) == {"step_s": 3.0, "spent_s": 117.0}
    assert (steps_of(run), clock.taken) == (81, 20 + 81)
    assert not (run / "01-a" / "work" / "trial").exists()
    # Timing leaves no trace: it is the stage of so many steps.
    assert_equal(found, trained(long(labels, {"steps": 81, "save_every": 100}), tmp_path / "steps"))


def test_timing_takes_but_a_share_of_the_hours(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, [6.0])
    train(long(labels, {"hours": 0.02}), tmp_path, silent, workers=0)
    assert kept_pace(tmp_path / "run" / "01-a" / "work") == Pace(6.0, 18.0)
    assert clock.taken == 3 + int((72 - 18) / 6)


def test_hours_that_are_spent_are_one_step() -> None:
    assert Pace(10.0, 100.0).steps(0.001) == 1
    assert Pace(10.0, 100.0).steps(1.0) == 350


@pytest.mark.parametrize("stop", ["while it is timed", "at a step"])
def test_a_stage_of_hours_is_resumed_to_the_same_bits(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    Clock(monkeypatch, [5.0])
    hours = {"hours": 0.02, "train": {"language": "lora", "lora": {"rank": 2, "dropout": 0.5}}}
    plan = long(labels, hours)
    expected = trained(plan, tmp_path / "whole")

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done, stop) == ("a", 3, "at a step"):
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        if stop == "while it is timed":
            patch.setattr(
                pace_module, "load_checkpoint", lambda *_: (_ for _ in ()).throw(RuntimeError("power cut"))
            )
        with pytest.raises(RuntimeError, match="power cut"):
            train(plan, tmp_path / "cut", report, workers=0)
    assert_equal(trained(plan, tmp_path / "cut", resume=True), expected)


def test_hours_are_changed_without_timing_anew(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch, [5.0])

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("a", 3):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(long(labels, {"hours": 0.02}), tmp_path, report, workers=0)
    monkeypatch.setattr(pace_module, "timed_pace", pytest.fail)
    run = train(
        long(labels, {"hours": 0.03}), tmp_path, silent, workers=0, resume=True, changes=["stages.0.hours"]
    )
    assert steps_of(run) == int((108 - 15) / 5)


def test_a_damaged_pace_is_told(tmp_path: Path) -> None:
    assert kept_pace(tmp_path) is None
    (tmp_path / "pace.json").write_text('{"step_s": 1}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"pace\.json: is damaged"):
        kept_pace(tmp_path)
