"""Some steps of every stage are timed: those that are like the ones to come."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from training_tools import recipe, silent, stage, write_clips

from vidapt.planning.calibration import calibrate
from vidapt.planning.plan import Means, plan_recipe
from vidapt.training.outlook import outlook
from vidapt.training.stage import save_checkpoint

STEPS, SLOW = 6, 1000.0


def test_a_step_is_timed_without_the_first_ones_and_without_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = write_clips(tmp_path / "clips")
    plan = recipe(stage(labels, "a", steps=50))
    ticks, late = itertools.count(), [0.0]

    def saves(*args: object, **named: object) -> object:
        late[0] += SLOW
        return save_checkpoint(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("vidapt.training.stage.save_checkpoint", saves)
    rates = calibrate(
        plan, STEPS, device="cpu", workers=0, report=silent, clock=lambda: next(ticks) + late[0]
    )
    assert late[0] == SLOW  # once, at its end
    timed = plan_recipe(outlook(plan, silent), Means(rates=rates))
    (found,), (seconds,) = timed.stages, timed.seconds
    # A tick between one step and the next; steps differ a little in what they read.
    assert seconds - found.clips * rates["a"][1] == pytest.approx(found.steps, rel=0.1)
