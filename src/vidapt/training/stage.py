"""One stage: batches, objective, steps, checkpoints; the same result whether or not it was interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from vidapt import parts
from vidapt.errors import VidaptError
from vidapt.files import disk_errors
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Stage
from vidapt.training.batch import StageBatch
from vidapt.training.checkpoint import (
    Progress,
    checkpoints,
    load_checkpoint,
    remove_torn,
    save_checkpoint,
)
from vidapt.training.data import ClipSamples
from vidapt.training.footage import Footage
from vidapt.training.interrupt import between_steps
from vidapt.training.optimizer import make_optimizer, set_rates, trainable, training_mode
from vidapt.training.order import Order, total_steps

LOG_EVERY = 10


@dataclass(frozen=True)
class StageWork:
    """Everything a stage's loop needs.

    Attributes:
        stage: What the recipe says.
        index: Its place in the recipe.
        seed: The recipe's seed.
        folder: Where checkpoints and logs go.
        clips: The data.
        tokenizer: The model's.
        truth: A simulator's columns, one row per clip.
        footage: Views or features.
        objective: Built and prepared.
        flex: Attend by FlexAttention.
    """

    stage: Stage
    index: int
    seed: int
    folder: Path
    clips: Sequence[ClipSamples]
    tokenizer: Any
    truth: Mapping[str, Tensor]
    footage: Footage
    objective: nn.Module
    flex: bool = False


def make_objective(stage: Stage, model: VideoLM, seed: int) -> nn.Module:
    """The stage's objective with weights that depend on the seed alone."""
    torch.manual_seed(seed)
    objective = parts.build("objectives", stage.objective)
    objective.prepare(model)
    assert isinstance(objective, nn.Module)
    return objective.to(model.device)


def fit(model: VideoLM, work: StageWork, report: Callable[[int, int, float], None]) -> dict[str, Any]:
    """Train a stage from its newest checkpoint, or from the start.

    Args:
        model: Parts already frozen and freed by `set_trainable`.
        work: The stage.
        report: Called with steps done, steps in all and the running loss.

    Returns:
        Steps, seconds spent in them and the running loss.

    Raises:
        KeyboardInterrupt: After Ctrl-C, once the step under way is done and saved.
        VidaptError: If the loss is not a number, or the disk is full.
    """
    stage = work.stage
    order = Order(work.clips, stage.batching, (work.seed, work.index))
    total = total_steps(stage, order)
    optimizer = make_optimizer(model, work.objective, stage.optimizer)
    torch.manual_seed(work.seed * 1009 + work.index)
    remove_torn(work.folder)
    at = Progress()
    for path in checkpoints(work.folder)[-1:]:
        at = load_checkpoint(path, model, work.objective, optimizer)
    training_mode(model, stage.train)
    with _log(work.folder, at.step) as log, between_steps() as interrupted:
        while at.step < total:
            set_rates(optimizer, stage.optimizer, at.step, total)
            started = time.monotonic()
            loss, shares = _step(model, work, order, optimizer, at.step)
            at = _advance(at, loss, time.monotonic() - started)
            last, stop = at.step == total, interrupted()
            if at.step % LOG_EVERY == 0 or last:
                log(at.step, {"loss": loss, **shares}, optimizer)
            if at.step % stage.save_every == 0 or last or stop:
                save_checkpoint(work.folder, model, work.objective, optimizer, at)
            report(at.step, total, loss if at.loss is None else at.loss)
            if stop:
                raise KeyboardInterrupt
        if interrupted():
            raise KeyboardInterrupt
    model.eval()
    return {"steps": total, "seconds": round(at.seconds, 1), "loss": at.loss}


def _advance(at: Progress, loss: float, seconds: float) -> Progress:
    running = loss if at.loss is None else 0.95 * at.loss + 0.05 * loss
    return Progress(at.step + 1, running, at.seconds + seconds)


def _step(
    model: VideoLM, work: StageWork, order: Order, optimizer: torch.optim.Optimizer, number: int
) -> tuple[float, dict[str, float]]:
    """One update; returns the loss per label and its components."""
    stage = work.stage
    batch = StageBatch(
        model,
        work.tokenizer,
        work.footage,
        work.clips,
        order.step(number),
        work.truth,
        shared_prefix=stage.batching.shared_prefix,
        flex=work.flex,
    )
    optimizer.zero_grad(set_to_none=True)
    lower = (
        torch.autocast(model.device.type, torch.bfloat16) if stage.precision == "bfloat16" else nullcontext()
    )
    with lower:
        loss = work.objective(model, batch)
    mean = loss.total / loss.weight
    if not torch.isfinite(mean):
        raise VidaptError(
            f"stage {stage.name}, step {number + 1}",
            f"the loss is {float(mean.detach())}",
            "lower the learning rate; the last checkpoint before this step is kept",
        )
    mean.backward()
    weights = [weight for _, weight in trainable(model, work.objective)]
    if stage.optimizer.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(weights, stage.optimizer.clip_norm)
    optimizer.step()
    return float(mean.detach()), {name: value / loss.weight for name, value in loss.parts.items()}


@contextmanager
def _log(
    folder: Path, done: int
) -> Iterator[Callable[[int, Mapping[str, float], torch.optim.Optimizer], None]]:
    """Numbers of steps as JSON lines and for TensorBoard; lines after the checkpoint resumed from are cut."""
    path = folder / "metrics.jsonl"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = [line for line in kept if _step_of(line) <= done]
        path.write_text("".join(line + "\n" for line in rows), encoding="utf-8")
        writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done or None)
        try:
            with path.open("a", encoding="utf-8") as file:

                def log(step: int, values: Mapping[str, float], optimizer: torch.optim.Optimizer) -> None:
                    rates = {f"rate/{group['part']}": group["lr"] for group in optimizer.param_groups}
                    for name, value in {**values, **rates}.items():
                        writer.add_scalar(name, value, step)
                    row = {"step": step, **{k: round(v, 6) for k, v in values.items()}, **rates}
                    file.write(json.dumps(row) + "\n")
                    file.flush()

                yield log
        finally:
            writer.close()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
