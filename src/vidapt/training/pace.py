"""How many steps fit into hours: some are taken, timed and taken back, and then there is a number of steps.

A stage of so many hours is thus, to the bit, the stage of that number of steps, however it is interrupted.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from vidapt.errors import CheckpointError
from vidapt.files import remove, write_json
from vidapt.training.checkpoint import StageProgress, load_checkpoint, save_checkpoint
from vidapt.training.freeze import Model, training_mode
from vidapt.training.optimizer import make_optimizer
from vidapt.training.step import Stepper
from vidapt.training.work import StageWork

TRIED = 20
"""Steps that are timed; the first one, in which much is made ready, does not count."""

_LEAST = 3
_SHARE = 1 / 20
"""Of the hours that timing may take, once there are enough steps."""

_FILE, _TRIAL = "pace.json", "trial"


@dataclass(frozen=True)
class Pace:
    """What was timed.

    Attributes:
        step_s: Seconds of a step.
        spent_s: Seconds that timing took, which count.
    """

    step_s: float
    spent_s: float

    def steps(self, hours: float) -> int:
        """How many fit into what is left of some hours; one at least."""
        return max(1, int((3600 * hours - self.spent_s) / self.step_s))


def kept_pace(folder: Path) -> Pace | None:
    """What was timed before; None if nothing was.

    Args:
        folder: Of the stage's work.

    Raises:
        CheckpointError: If it is damaged.
    """
    file = folder / _FILE
    try:
        return Pace(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(file, f"is damaged: {error}", "delete it: it is timed anew") from error


def timed_pace(model: Model, work: StageWork, hours: float) -> Pace:
    """Time a stage's first steps and keep what was found; model and objective are as before.

    Args:
        model: Parts already frozen and freed.
        work: The stage.
        hours: What it may take.
    """
    trial = work.folder / _TRIAL
    remove(trial)
    optimizer = make_optimizer(model, work.objective, work.stage.optimizer)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = save_checkpoint(trial, model, work.objective, optimizer, StageProgress())
    training_mode(model, work.stage.train, recompute=work.stage.recompute)
    stepper, seconds = Stepper(model, work, optimizer), list[float]()
    while len(seconds) < TRIED and not (len(seconds) >= _LEAST and sum(seconds) > 3600 * hours * _SHARE):
        started = time.monotonic()
        stepper.take(len(seconds))
        seconds.append(time.monotonic() - started)
    load_checkpoint(before, model, work.objective, optimizer)
    remove(trial)
    timed = seconds[1:]
    pace = Pace(max(sum(timed) / len(timed), 1e-6), sum(seconds))
    write_json(work.folder / _FILE, asdict(pace))
    return pace
