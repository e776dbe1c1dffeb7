"""One stage: batches, objective, steps, checkpoints; the same result whether or not it was interrupted."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from vidapt import parts
from vidapt.errors import CheckpointError, VidaptError
from vidapt.files import disk_errors, write_text
from vidapt.interrupt import between_steps
from vidapt.recipe import Stage
from vidapt.training.checkpoint import (
    StageProgress,
    checkpoints,
    load_checkpoint,
    not_finite,
    remove_torn,
    save_checkpoint,
)
from vidapt.training.optimizer import Model, make_optimizer, set_rates, trainable, training_mode
from vidapt.training.order import Visit
from vidapt.training.portions import learn_from

LOG_EVERY = 10

_SHARE = 0.05
"""Of the newest loss in the running mean, once there are many."""

Numbers = Mapping[str, float]


class DivergedError(VidaptError):
    """A loss, a gradient or a weight is not finite any more."""


def _nothing(numbers: Numbers) -> Numbers:
    """Watch nothing."""
    del numbers
    return {}


@dataclass(frozen=True)
class StageWork:
    """Everything a stage's loop needs.

    Attributes:
        stage: What the recipe says.
        index: Its place in the recipe.
        seed: The recipe's seed.
        folder: Where checkpoints and logs go.
        steps: How many there are.
        batches: What a step sees, counted from 0, in portions; none if nothing can be learned from it.
        objective: Built and prepared.
        visits: Who takes part in a step, counted from 0, if no clip is broken.
        measure: Further numbers for the log after so many steps, asked for before the first step and whenever
            a checkpoint is due; it may put the model into evaluation mode.
        watch: Told of every logged step's numbers; returns more of them.
        note: What is to be told beside the loss.
        told: What the card of the trained model tells of its training beside that.
        changed: Numbers of the recipe that were changed at the step the stage goes on from, by place there.
    """

    stage: Stage
    index: int
    seed: int
    folder: Path
    steps: int
    batches: Callable[[int], list[Any]]
    objective: nn.Module
    visits: Callable[[int], Sequence[Visit]]
    measure: Callable[[int], Numbers] | None = None
    watch: Callable[[Numbers], Numbers] = _nothing
    note: Callable[[], str] = str
    told: Mapping[str, Any] = field(default_factory=dict)
    changed: Numbers = field(default_factory=dict)


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
    stage = work.stage
    total = work.steps
    optimizer = make_optimizer(model, work.objective, stage.optimizer)
    torch.manual_seed(work.seed * 1009 + work.index)
    remove_torn(work.folder)
    at = StageProgress()
    for path in checkpoints(work.folder)[-1:]:
        at = load_checkpoint(path, model, work.objective, optimizer)
        if at.step > total:
            raise CheckpointError(
                path,
                f"is of step {at.step}, the stage has {total}",
                f"set its `steps` (or `epochs`) to no fewer: --set stages.{work.index}.steps={at.step}",
            )
    with _log(work.folder, at.step, work.watch) as log, between_steps() as interrupted:
        if not at.step and work.measure is not None:
            log(0, work.measure(0), optimizer)
        training_mode(model, stage.train, recompute=stage.recompute)
        saved = time.monotonic()
        first = at.step + 1
        while at.step < total:
            set_rates(optimizer, stage.optimizer, at.step, total)
            started = time.monotonic()
            found = _step(model, work, optimizer, at.step)
            at = _advance(at, found, time.monotonic() - started)
            last, stop = at.step == total, interrupted()
            numbers = _due(model, work, at.step, found, changed=at.step == first)
            if numbers:
                log(at.step, numbers, optimizer)
            if last or stop or _save_is_due(stage, at.step, time.monotonic() - saved):
                _check_weights(model, work, at.step)
                save_checkpoint(work.folder, model, work.objective, optimizer, at)
                saved = time.monotonic()
            report(at.step, total, math.nan if at.loss is None else at.loss)
            if stop:
                raise stop
        if stop := interrupted():
            raise stop
    model.eval()
    skipped = {"skipped": at.skipped} if at.skipped else {}
    return {"steps": total, "seconds": round(at.seconds, 1), "loss": at.loss, **skipped}


def _save_is_due(stage: Stage, done: int, since_s: float) -> bool:
    minutes = stage.save_minutes
    return done % stage.save_every == 0 or (minutes is not None and since_s >= 60 * minutes)


def _advance(at: StageProgress, found: Numbers | None, seconds: float) -> StageProgress:
    if found is None:
        return StageProgress(at.step + 1, at.loss, at.seconds + seconds, at.skipped + 1)
    loss = found["loss"]
    # At first each loss weighs as its number, so that the first ones are soon forgotten.
    share = max(_SHARE, 2 / (at.step - at.skipped + 2))
    running = loss if at.loss is None else (1 - share) * at.loss + share * loss
    return StageProgress(at.step + 1, running, at.seconds + seconds, at.skipped)


def _due(
    model: Model, work: StageWork, done: int, found: Numbers | None, *, changed: bool
) -> dict[str, float]:
    """Numbers to be logged once so many steps are done; empty if none are due.

    What is measured does not depend on the clock, so not on saving by minutes.
    """
    last, forked = done == work.steps, changed and bool(work.changed)
    numbers = dict(found) if found is not None and (done % LOG_EVERY == 0 or last or forked) else {}
    if forked and numbers:
        numbers |= {f"fork/{place}": value for place, value in work.changed.items()}
    if work.measure is not None and (done % work.stage.save_every == 0 or last):
        numbers |= work.measure(done)
        training_mode(model, work.stage.train, recompute=work.stage.recompute)
    return numbers


def _step(
    model: Model, work: StageWork, optimizer: torch.optim.Optimizer, number: int
) -> dict[str, float] | None:
    """One update; the loss per label, of how many labels, and its components; None for a skipped step."""
    stage = work.stage
    batches = work.batches(number)
    if not batches:
        return None
    optimizer.zero_grad()
    weights = [weight for _, weight in trainable(model, work.objective)]

    def lower() -> AbstractContextManager[Any]:
        halves = stage.precision == "bfloat16"
        return torch.autocast(model.device.type, torch.bfloat16) if halves else nullcontext()

    def check(mean: Tensor) -> None:
        _check_finite(stage, number, "the loss", mean)

    loss = learn_from(batches, partial(work.objective, model), lower, check, weights)
    mean = float(loss.total / loss.weight)
    _check_finite(stage, number, "the gradient's length", _clipped(weights, stage.optimizer.clip_norm))
    optimizer.step()
    after = getattr(work.objective, "after_step", None)
    if after is not None:
        after(model)
    return {
        "loss": mean,
        "loss/weight": loss.weight,
        **{name: value / loss.weight for name, value in loss.parts.items()},
    }


def _clipped(weights: Sequence[nn.Parameter], longest: float | None) -> Tensor:
    """The gradient's length, before it is shortened."""
    if longest is not None:
        return torch.nn.utils.clip_grad_norm_(weights, longest)
    return torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])


def _check_finite(stage: Stage, number: int, what: str, value: Tensor) -> None:
    if not torch.isfinite(value):
        raise DivergedError(f"stage {stage.name}, step {number + 1}", f"{what} is {float(value.detach())}")


def _check_weights(model: Model, work: StageWork, done: int) -> None:
    name = not_finite(model, work.objective)
    if name is not None:
        raise DivergedError(f"stage {work.stage.name}, step {done}", f"{name} is not finite any more")


@contextmanager
def _log(
    folder: Path, done: int, watch: Callable[[Numbers], Numbers]
) -> Iterator[Callable[[int, Numbers, torch.optim.Optimizer], None]]:
    """Numbers of steps as JSON lines and for TensorBoard; lines after the checkpoint resumed from are cut."""
    path = folder / "metrics.jsonl"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        kept = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        # Where there is no checkpoint all is done again, also what is measured before the first step.
        rows = [line for line in kept if done and _step_of(line) <= done]
        for line in rows:
            watch(json.loads(line))
        write_text(path, "".join(line + "\n" for line in rows))
        writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done or None)
        try:
            with path.open("a", encoding="utf-8") as file:

                def log(step: int, numbers: Numbers, optimizer: torch.optim.Optimizer) -> None:
                    values = {**numbers, **watch(numbers)}
                    rates = {f"rate/{group['part']}": group["lr"] for group in optimizer.param_groups}
                    for name, value in (values | rates).items():
                        writer.add_scalar(name, value, step)
                    row = {"step": step, **{k: _short(k, v) for k, v in values.items()}, **rates}
                    file.write(json.dumps(row) + "\n")
                    file.flush()

                yield log
        finally:
            writer.close()


def _short(name: str, value: float) -> float:
    return value if name.startswith("fork/") else round(value, 6)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
