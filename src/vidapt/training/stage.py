"""One stage: batches, objective, steps, checkpoints; the same result whether or not it was interrupted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vidapt import parts
from vidapt.errors import CheckpointError, VidaptError
from vidapt.interrupt import between_steps
from vidapt.recipe import Stage
from vidapt.training.average import RunningAverage
from vidapt.training.checkpoint import (
    StageProgress,
    checkpoints,
    load_checkpoint,
    not_finite,
    remove_torn,
    save_checkpoint,
)
from vidapt.training.faults import Fault
from vidapt.training.freeze import Model, training_mode
from vidapt.training.log import Numbers, log_fault, stage_log
from vidapt.training.optimizer import make_optimizer
from vidapt.training.schedule import set_rates
from vidapt.training.step import Stepper
from vidapt.training.work import StageWork

LOG_EVERY = 10

_SHARE = 0.05
"""Of the newest loss in the running mean, once there are many."""


class DivergedError(VidaptError):
    """A loss, a gradient or a weight is not finite any more."""


def make_objective(stage: Stage, model: Model, seed: int) -> nn.Module:
    """The stage's objective with weights that depend on the seed alone."""
    torch.manual_seed(seed)
    objective = parts.build("objectives", stage.objective)
    objective.prepare(model)
    assert isinstance(objective, nn.Module)
    return objective.to(model.device)


def fit(model: Model, work: StageWork, report: Callable[[int, int, float], None]) -> dict[str, Any]:
    """Train a stage from its newest checkpoint, or from the start.

    Args:
        model: Parts already frozen and freed by `set_trainable`.
        work: The stage.
        report: Called with steps done, steps in all and the running loss.

    Returns:
        Steps, seconds spent in them and the running loss; and how many steps were skipped, if any were.

    Raises:
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once the step under way is done and saved.
        CheckpointError: If the newest checkpoint is not one of this stage.
        DivergedError: If the loss, the gradient or a weight is not finite; nothing of the kind is ever saved.
        VidaptError: If the disk is full.
    """
    stage, total = work.stage, work.steps
    optimizer = make_optimizer(model, work.objective, stage.optimizer)
    average = _average(model, work)
    torch.manual_seed(work.seed * 1009 + work.index)
    at = _resumed(model, work, optimizer, average)
    stepper = Stepper(model, work, optimizer)
    with (
        work.trackers(at.step) as trackers,
        stage_log(work.folder, at.step, work.watch, trackers) as log,
        between_steps() as interrupted,
    ):
        if not at.step and work.measure is not None:
            log(0, work.measure(0), optimizer)
        training_mode(model, stage.train, recompute=stage.recompute)
        saved = time.monotonic()
        first = at.step + 1
        while at.step < total:
            set_rates(optimizer, stage.optimizer, at.step, total)
            at, found = _taken(model, work, stepper, average, at)
            last, stop = at.step == total, interrupted()
            numbers = _due(model, work, at.step, found, average, changed=at.step == first)
            if numbers:
                log(at.step, numbers, optimizer)
            if last or stop or _save_is_due(stage, at.step, time.monotonic() - saved):
                _check_weights(model, work, at.step)
                save_checkpoint(work.folder, model, work.objective, optimizer, at, average)
                saved = time.monotonic()
            report(at.step, total, math.nan if at.loss is None else at.loss)
            if stop:
                raise stop
        if stop := interrupted():
            raise stop
    model.eval()
    if average is not None:
        average.settle()
    skipped = {"skipped": at.skipped} if at.skipped else {}
    return {"steps": total, "seconds": round(at.seconds, 1), "loss": at.loss, **skipped}


def _average(model: Model, work: StageWork) -> RunningAverage | None:
    """The mean of the model's own weights, if the stage asks for one."""
    if work.stage.average is None:
        return None
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    return RunningAverage(work.stage.average, weights, work.steps)


def _resumed(
    model: Model, work: StageWork, optimizer: torch.optim.Optimizer, average: RunningAverage | None
) -> StageProgress:
    """Go on from the newest checkpoint, if there is one."""
    remove_torn(work.folder)
    at = StageProgress()
    for path in checkpoints(work.folder)[-1:]:
        at = load_checkpoint(path, model, work.objective, optimizer, average)
        if at.step > work.steps:
            raise CheckpointError(
                path,
                f"is of step {at.step}, the stage has {work.steps}",
                f"set its `steps` (or `epochs`) to no fewer: --set stages.{work.index}.steps={at.step}",
            )
    return at


def _taken(
    model: Model, work: StageWork, stepper: Stepper, average: RunningAverage | None, at: StageProgress
) -> tuple[StageProgress, Numbers | Fault | None]:
    """Take a step; where the stage is then, and what was found."""
    started = time.monotonic()
    found = stepper.take(at.step)
    at = _advance(at, found, time.monotonic() - started)
    if isinstance(found, Fault):
        _guard(model, work, at, found)
    elif found is not None and average is not None:
        average.update(at.step)
    return at, found


def _save_is_due(stage: Stage, done: int, since_s: float) -> bool:
    minutes = stage.save_minutes
    return done % stage.save_every == 0 or (minutes is not None and since_s >= 60 * minutes)


def _advance(at: StageProgress, found: Numbers | Fault | None, seconds: float) -> StageProgress:
    at = replace(at, step=at.step + 1, seconds=at.seconds + seconds)
    if found is None:
        return replace(at, skipped=at.skipped + 1)
    if isinstance(found, Fault):
        return replace(at, skipped=at.skipped + 1, faults=at.faults + 1)
    loss = found["loss"]
    # At first each loss weighs as its number, so that the first ones are soon forgotten.
    share = max(_SHARE, 2 / (at.step - at.skipped + 1))
    return replace(at, loss=loss if at.loss is None else (1 - share) * at.loss + share * loss, faults=0)


def _guard(model: Model, work: StageWork, at: StageProgress, fault: Fault) -> None:
    """Write down a step that was left out; stop if there are too many in a row, or a weight is spoilt."""
    _check_weights(model, work, at.step)
    if at.faults >= work.stage.guard:
        row = f"; {at.faults} steps in a row were left out" if at.faults > 1 else ""
        raise DivergedError(f"stage {work.stage.name}, step {at.step}", f"{fault}{row}")
    log_fault(work.folder, at.step, fault)
    work.tell(f"step {at.step} is left out: {fault}")


def _due(
    model: Model,
    work: StageWork,
    done: int,
    found: Numbers | Fault | None,
    average: RunningAverage | None,
    *,
    changed: bool,
) -> dict[str, float]:
    """Numbers to be logged once so many steps are done; empty if none are due.

    What is measured does not depend on the clock, so not on saving by minutes.
    """
    last, forked = done == work.steps, changed and bool(work.changed)
    numbers: dict[str, float] = {}
    if isinstance(found, Mapping) and (done % LOG_EVERY == 0 or last or forked):
        numbers = dict(found)
    if forked and numbers:
        numbers |= {f"fork/{place}": value for place, value in work.changed.items()}
    if work.measure is not None and (done % work.stage.save_every == 0 or last):
        with average.in_place() if average is not None else nullcontext():
            numbers |= work.measure(done)
        training_mode(model, work.stage.train, recompute=work.stage.recompute)
    return numbers


def _check_weights(model: Model, work: StageWork, done: int) -> None:
    name = not_finite(model, work.objective)
    if name is not None:
        raise DivergedError(f"stage {work.stage.name}, step {done}", f"{name} is not finite any more")
