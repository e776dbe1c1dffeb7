"""Checkpoints inside a stage: written whole or not at all, and enough to go on exactly."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidapt.errors import CheckpointError
from vidapt.files import write_folder
from vidapt.training.optimizer import Model, parts_of, trainable

KEEP = 2


@dataclass(frozen=True)
class StageProgress:
    """How far a stage is.

    Attributes:
        step: Steps done.
        loss: Running mean of the loss per label; None before the first step.
        seconds: Time spent in steps so far.
        skipped: Steps from which nothing could be learned.
    """

    step: int = 0
    loss: float | None = None
    seconds: float = 0.0
    skipped: int = 0


def save_checkpoint(
    folder: Path,
    model: Model,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    at: StageProgress,
) -> Path:
    """Write `checkpoint-STEP` and drop all but the newest `KEEP`.

    Args:
        folder: The stage's folder.
        model: Only what changes is written: its trainable weights, and the buffers of parts that train.
        objective: Its own weights and buffers are written too.
        optimizer: Its state.
        at: Where the stage is.

    Raises:
        VidaptError: If the disk is full; earlier checkpoints stay as they are.
    """
    path = folder / f"checkpoint-{at.step:08d}"
    with write_folder(path) as temporary:
        tensors = {name: t.detach().cpu().contiguous() for name, t in _changing(model, objective).items()}
        save_file(tensors, str(temporary / "trainable.safetensors"))
        torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
        torch.save(_random_state(model.device), temporary / "random.pt")
        (temporary / "state.json").write_text(json.dumps(asdict(at)), encoding="utf-8")
    for old in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a stage, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*") if (path / "state.json").exists())


def remove_torn(folder: Path) -> None:
    """Delete what a process killed while it wrote a checkpoint left behind."""
    for torn in folder.glob(".checkpoint-*"):
        shutil.rmtree(torn)


def load_checkpoint(
    path: Path, model: Model, objective: nn.Module, optimizer: torch.optim.Optimizer
) -> StageProgress:
    """Restore weights, optimizer and random state; returns where the stage was.

    Raises:
        CheckpointError: If a tensor is missing, unknown or of another shape, or a file is damaged.
    """
    saved, state, random, progress = _read(path)
    wanted = _changing(model, objective)
    if saved.keys() != wanted.keys():
        odd = sorted(saved.keys() ^ wanted.keys())
        raise CheckpointError(path, f"weights do not fit: {odd[:5]}", "resume with the recipe that wrote it")
    with torch.no_grad():
        for name, tensor in wanted.items():
            if tensor.shape != saved[name].shape:
                raise CheckpointError(
                    path, f"{name} is {tuple(saved[name].shape)}, the model has {tuple(tensor.shape)}"
                )
            tensor.copy_(saved[name])
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            path, f"the optimizer's state does not fit: {error}", "resume with the recipe that wrote it"
        ) from error
    torch.set_rng_state(random["torch"])
    if model.device.type == "cuda" and "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"], model.device)
    return progress


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Tensor], StageProgress]:
    try:
        return (
            load_file(path / "trainable.safetensors"),
            torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu"),
            torch.load(path / "random.pt", weights_only=True),
            StageProgress(**json.loads((path / "state.json").read_text(encoding="utf-8"))),
        )
    # torch.load raises RuntimeError for damaged archives and EOFError or UnpicklingError for cut ones.
    except (
        OSError,
        SafetensorError,
        RuntimeError,
        EOFError,
        UnpicklingError,
        ValueError,
        TypeError,
    ) as error:
        raise CheckpointError(
            path, f"cannot be read: {error}", "delete this checkpoint and resume again"
        ) from error


def _changing(model: Model, objective: nn.Module) -> dict[str, Tensor]:
    """What a step may change: trainable weights, and buffers such as running statistics of their parts."""
    found: dict[str, Tensor] = dict(trainable(model, objective))
    busy = {name.partition(".")[0] for name in found}
    kept = model.state_dict()
    for name in sorted(busy & {name for members in parts_of(model).values() for name in members}):
        member = getattr(model, name)
        if isinstance(member, nn.Module):
            buffers = member.named_buffers(prefix=name)
            found |= {name: buffer for name, buffer in buffers if name in kept}
    # Such as what was measured before the first step.
    own = objective.state_dict().keys()
    return found | {f"objective.{name}": buffer for name, buffer in objective.named_buffers() if name in own}


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state
