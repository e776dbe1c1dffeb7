"""A stage's loop at its exact steps: what is logged, saved and counted, on a model of two numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_tools import RATE, Asked, Pair, batches_of, quiet, rows, saved, stage, work_of
from torch import Tensor, nn

from vidapt.errors import CheckpointError
from vidapt.training import checkpoint as checkpoint_module
from vidapt.training import stage as stage_module
from vidapt.training.checkpoint import StageProgress, choose_checkpoint, not_finite
from vidapt.training.schedule import rate_factor
from vidapt.training.stage import fit


def test_every_tenth_step_and_the_last_are_logged_with_their_own_loss_and_rate(tmp_path: Path) -> None:
    warm = stage(optimizer={"warmup": 0.2, "decay": "cosine", "floor": 0.1})
    fit(Pair(), work_of(tmp_path, stage=warm), quiet)
    found = rows(tmp_path)
    assert [row["step"] for row in found] == [10, 20, 25]
    # A step's batch is known by its number, counted from 0; sums are told per label.
    assert [row["loss"] for row in found] == [9.0, 19.0, 24.0]
    assert [row["loss/half"] for row in found] == [4.5, 9.5, 12.0]
    assert {row["loss/weight"] for row in found} == {4.0}
    wanted = [RATE * rate_factor(warm.optimizer, step - 1, 25) for step in (10, 20, 25)]
    assert [row["rate/connector"] for row in found] == pytest.approx(wanted, rel=1e-12)


def test_what_is_measured_stands_at_the_beginning_at_each_checkpoint_and_at_the_end(tmp_path: Path) -> None:
    asked: list[int] = []
    objective, model = Asked(), Pair()

    def measure(step: int) -> Mapping[str, float]:
        asked.append(step)
        model.eval()
        return {"recall": step + 0.12345678}

    fit(model, work_of(tmp_path, objective=objective, measure=measure), quiet)
    assert asked == [0, 7, 14, 21, 25]
    assert [row["step"] for row in rows(tmp_path)] == [0, 7, 10, 14, 20, 21, 25]
    measured = {row["step"]: row["recall"] for row in rows(tmp_path) if "recall" in row}
    assert measured == {step: step + 0.123457 for step in asked}
    # Measuring leaves no part in evaluation mode that learns, and frees none that does not.
    assert set(objective.modes) == {(True, False)}
    assert not model.connector.training


def test_checkpoints_are_due_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    there: dict[int, list[int]] = {}
    plan = stage(steps=8, save_every=3)
    fit(
        Pair(),
        work_of(tmp_path, stage=plan),
        lambda done, total, loss: there.update({done: saved(tmp_path)}),
    )
    assert there == {1: [], 2: [], 3: [3], 4: [3], 5: [3], 6: [3, 6], 7: [3, 6], 8: [6, 8]}


def test_checkpoints_are_also_due_by_the_clock_since_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step takes 20 seconds; one is due after each minute, counted anew from every one."""
    now = 0.0
    monkeypatch.setattr(stage_module.time, "monotonic", lambda: now)

    def batch(number: int) -> float:
        nonlocal now
        now += 20.0
        return 1.0

    there: list[int] = []
    plan = stage(steps=9, save_every=5, save_minutes=1.0)
    told = fit(
        Pair(),
        work_of(tmp_path, stage=plan, batches=lambda number: [batch(number)]),
        lambda done, total, loss: there.extend(one for one in saved(tmp_path) if one not in there),
    )
    assert there == [3, 5, 8, 9]
    assert told["seconds"] == 180.0


def test_of_the_first_losses_each_weighs_as_its_number_and_skipped_steps_do_not_count(tmp_path: Path) -> None:
    losses = [12.0, None, 6.0, 3.0, None, 9.0, 1.0]
    taken = [loss for loss in losses if loss is not None]
    wanted = [
        sum((i + 1) * loss for i, loss in enumerate(taken[:count])) / sum(range(1, count + 1))
        for count in range(1, len(taken) + 1)
    ]
    heard: list[float] = []
    objective = Asked()
    told = fit(
        Pair(),
        work_of(tmp_path, stage=stage(steps=7), batches=batches_of(losses), objective=objective),
        lambda done, total, loss: heard.append(loss),
    )
    assert [heard[step] for step in (0, 2, 3, 5, 6)] == pytest.approx(wanted)
    assert (heard[1], heard[4]) == (heard[0], heard[3])
    assert (told["steps"], told["skipped"]) == (7, 2)
    assert told["loss"] == pytest.approx(wanted[-1])
    # A skipped step changes no weight, though momentum could carry it on.
    assert len(objective.after) == len(set(objective.after)) == 5


def test_a_stage_of_skipped_steps_alone_tells_no_loss(tmp_path: Path) -> None:
    heard: list[float] = []
    told = fit(
        Pair(),
        work_of(tmp_path, stage=stage(steps=3), batches=lambda number: []),
        lambda done, total, loss: heard.append(loss),
    )
    assert all(map(math.isnan, heard))
    assert len(heard) == 3
    assert told.pop("seconds") >= 0
    assert told == {"steps": 3, "loss": None, "skipped": 3}
    assert rows(tmp_path) == []


def test_no_skipped_steps_are_told_where_there_were_none(tmp_path: Path) -> None:
    told = fit(Pair(), work_of(tmp_path, stage=stage(steps=1)), quiet)
    assert told.keys() == {"steps", "seconds", "loss"}


def test_the_first_step_goes_by_the_rate_and_an_objective_is_called_behind_every_step(tmp_path: Path) -> None:
    """AdamW's first steps on an even slope are as long as the rate, whatever the slope."""
    model, objective = Pair(), Asked(steep=7.0)
    fit(model, work_of(tmp_path, objective=objective, stage=stage(steps=3)), quiet)
    assert objective.after == pytest.approx([1 - RATE, 1 - 2 * RATE, 1 - 3 * RATE], abs=1e-6)
    assert float(model.language.weight) == 1.0


@pytest.mark.parametrize(("longest", "wanted"), [(None, 50.0), (100.0, 50.0), (2.0, 2.0)])
def test_a_gradient_is_cut_only_where_it_is_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: float | None, wanted: float
) -> None:
    slopes: list[float] = []
    taken = torch.optim.AdamW.step

    def heard(self: torch.optim.AdamW, *given: Any) -> Any:
        slopes.extend(float(weight.grad) for group in self.param_groups for weight in group["params"])
        return taken(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", heard)
    plan = stage(steps=2, optimizer={"clip_norm": longest})
    fit(Pair(), work_of(tmp_path, stage=plan, objective=Asked(steep=50.0)), quiet)
    assert slopes == pytest.approx([wanted] * 2, rel=1e-5)


def test_chance_is_another_for_each_seed_and_stage_and_the_same_again(tmp_path: Path) -> None:
    def drawn(seed: int, index: int, place: str) -> float:
        objective = Asked()
        folder = tmp_path / place / f"{seed}-{index}"
        fit(Pair(), work_of(folder, objective=objective, seed=seed, index=index, stage=stage(steps=1)), quiet)
        return objective.chance[0]

    pairs = [(seed, index) for seed in range(3) for index in range(3)]
    first = [drawn(*pair, "first") for pair in pairs]
    assert len(set(first)) == len(pairs)
    assert [drawn(*pair, "again") for pair in pairs] == first


def test_a_watcher_hears_every_logged_row_also_those_from_before_an_interruption(tmp_path: Path) -> None:
    def best_so_far() -> Callable[[Mapping[str, float]], Mapping[str, float]]:
        best = -1.0

        def watch(numbers: Mapping[str, float]) -> Mapping[str, float]:
            nonlocal best
            best = max(best, numbers["loss"])
            return {"best": best}

        return watch

    losses = [99.0 if number == 9 else 1.0 for number in range(30)]

    def stop(done: int, total: int, loss: float) -> None:
        if done == 24:
            raise RuntimeError("power cut")

    plan = stage(steps=30, save_every=12)
    with pytest.raises(RuntimeError):
        fit(Pair(), work_of(tmp_path, stage=plan, batches=batches_of(losses), watch=best_so_far()), stop)
    log = tmp_path / "metrics.jsonl"
    log.write_text(log.read_text(encoding="utf-8") + '{"step": 25, "loss": 1e9}\n{"ste', encoding="utf-8")
    fit(Pair(), work_of(tmp_path, stage=plan, batches=batches_of(losses), watch=best_so_far()), quiet)
    assert [(row["step"], row["best"]) for row in rows(tmp_path)] == [(10, 99.0), (20, 99.0), (30, 99.0)]


def test_what_a_fork_changed_is_logged_whole_at_its_first_step_alone(tmp_path: Path) -> None:
    work = work_of(tmp_path, stage=stage(steps=3), changed={"stages.0.optimizer.rates.connector": 1.5e-9})
    fit(Pair(), work, quiet)
    marked = [{k: v for k, v in row.items() if k.startswith("fork/")} for row in rows(tmp_path)]
    assert [row["step"] for row in rows(tmp_path)] == [1, 3]
    assert marked == [{"fork/stages.0.optimizer.rates.connector": 1.5e-9}, {}]


def test_a_checkpoint_of_the_last_step_is_the_end_and_one_beyond_is_refused(tmp_path: Path) -> None:
    fit(Pair(), work_of(tmp_path, stage=stage(steps=4)), quiet)
    objective = Asked()
    told = fit(Pair(), work_of(tmp_path, stage=stage(steps=4), objective=objective), quiet)
    assert (told["steps"], objective.after) == (4, [])
    with pytest.raises(CheckpointError, match="is of step 4, the stage has 3"):
        fit(Pair(), work_of(tmp_path, stage=stage(steps=3)), quiet)


class Counting(Asked):
    """Has a running number and one that is not kept."""

    kept: Tensor
    passing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.tensor(0.0))
        self.register_buffer("passing", torch.tensor(0.0), persistent=False)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda model, objective: model.connector.weight, "connector.weight"),
        (lambda model, objective: objective.kept, "objective.kept"),
        (lambda model, objective: model.language.weight, None),
        (lambda model, objective: objective.passing, None),
    ],
    ids=["a weight", "a buffer", "a frozen weight", "a buffer that is not kept"],
)
def test_only_what_a_checkpoint_would_hold_has_to_be_finite(spoil: Any, named: str | None) -> None:
    model, objective = Pair(), Counting()
    assert not_finite(model, objective) is None  # type: ignore[arg-type]
    with torch.no_grad():
        spoil(model, objective).fill_(math.inf)
    assert not_finite(model, objective) == named  # type: ignore[arg-type]


def test_an_objectives_running_numbers_go_on_and_a_changed_model_is_refused(tmp_path: Path) -> None:
    objective = Counting()
    objective.kept.fill_(5.0)
    fit(Pair(), work_of(tmp_path, stage=stage(steps=2), objective=objective), quiet)
    again = Counting()
    fit(Pair(), work_of(tmp_path, stage=stage(steps=2), objective=again), quiet)
    assert float(again.kept) == 5.0
    with pytest.raises(CheckpointError, match=r"weights do not fit: \['objective\.kept'\]"):
        fit(Pair(), work_of(tmp_path, stage=stage(steps=2)), quiet)
    wide = Pair()
    wide.connector = nn.Linear(2, 1, bias=False)
    with pytest.raises(CheckpointError, match=r"connector\.weight is \(1, 1\), the model has \(1, 2\)"):
        fit(wide, work_of(tmp_path, stage=stage(steps=2), objective=Counting()), quiet)


def test_a_file_of_a_checkpoints_name_is_none_and_steps_are_in_order_of_number(tmp_path: Path) -> None:
    for name in ("checkpoint-100000000", "checkpoint-99999999", "checkpoint-x", "checkpoint-5.bak"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-00000007").write_bytes(b"")
    found = [path.name for path in checkpoint_module.checkpoints(tmp_path)]
    assert found == ["checkpoint-99999999", "checkpoint-100000000"]


def test_where_there_is_no_checkpoint_the_stage_begins_and_none_can_be_asked_for(tmp_path: Path) -> None:
    heard: list[str] = []
    assert choose_checkpoint(tmp_path, heard.append) == 0
    with pytest.raises(CheckpointError) as told:
        choose_checkpoint(tmp_path, heard.append, 0)
    assert "holds no checkpoint of step 0" in str(told.value)
    assert "are there" not in str(told.value)
    assert heard == []


def test_the_checkpoint_that_is_asked_for_becomes_the_last(tmp_path: Path) -> None:
    fit(Pair(), work_of(tmp_path, stage=stage(steps=6, save_every=3)), quiet)
    assert choose_checkpoint(tmp_path, pytest.fail, 6) == 6
    assert saved(tmp_path) == [3, 6]
    assert choose_checkpoint(tmp_path, pytest.fail, 3) == 3
    assert saved(tmp_path) == [3]


def test_progress_before_the_first_step_is_nothing() -> None:
    assert StageProgress() == StageProgress(step=0, loss=None, seconds=0.0, skipped=0)
