"""Checkpoints inside a stage: written whole or not at all, enough to go on exactly, and known to be sound."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidapt.errors import CheckpointError
from vidapt.files import remove, write_folder
from vidapt.training.average import RunningAverage
from vidapt.training.freeze import Model, parts_of, trainable
from vidapt.training.manifest import differences, read_manifest, write_manifest

KEEP = 2
AVERAGE = "average.safetensors"

_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class StageProgress:
    """How far a stage is.

    Attributes:
        step: Steps done.
        loss: Running mean of the loss per label; None before the first step.
        seconds: Time spent in steps so far.
        skipped: Steps from which nothing could be learned.
        faults: How many of the newest steps, in a row, were left out because something was not finite.
    """

    step: int = 0
    loss: float | None = None
    seconds: float = 0.0
    skipped: int = 0
    faults: int = 0


def save_checkpoint(
    folder: Path,
    model: Model,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    at: StageProgress,
    average: RunningAverage | None = None,
) -> Path:
    """Write `checkpoint-STEP` and drop all but the newest `KEEP`.

    Args:
        folder: The stage's folder.
        model: Only what changes is written: its trainable weights, and the buffers of parts that train.
        objective: Its own weights and buffers are written too.
        optimizer: Its state.
        at: Where the stage is.
        average: The mean of its weights so far.

    Raises:
        VidaptError: If the disk is full; earlier checkpoints stay as they are.
    """
    path = folder / f"checkpoint-{at.step:08d}"
    with write_folder(path) as temporary:
        tensors = {name: t.detach().cpu().contiguous() for name, t in _changing(model, objective).items()}
        save_file(tensors, str(temporary / "trainable.safetensors"))
        torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
        torch.save(_random_state(model.device), temporary / "random.pt")
        if average is not None:
            _save_average(temporary / AVERAGE, average)
        (temporary / "state.json").write_text(json.dumps(asdict(at)), encoding="utf-8")
        write_manifest(temporary, step=at.step)
    for old in checkpoints(folder)[:-KEEP]:
        remove(old)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a stage, oldest first; whether they are sound is another question."""
    found = {path: _NAME.fullmatch(path.name) for path in folder.glob("checkpoint-*") if path.is_dir()}
    steps = {path: int(name[1]) for path, name in found.items() if name is not None}
    return sorted(steps, key=steps.__getitem__)


def step_of(path: Path) -> int:
    """Of which step a checkpoint is, by its name."""
    return int(path.name.rpartition("-")[2])


def choose_checkpoint(folder: Path, tell: Callable[[str], object], step: int | None = None) -> int:
    """Make the newest sound checkpoint of a stage the last one that it has.

    Newer ones are deleted if one is sound: damaged ones, and those behind the one that is asked for.

    Args:
        folder: The stage's.
        tell: Told of damaged ones.
        step: Go on from this one.

    Returns:
        Its step; 0 if there is no checkpoint at all.

    Raises:
        CheckpointError: If none is sound, or the one that is asked for is not there or is damaged.
    """
    found = checkpoints(folder)
    steps = [step_of(path) for path in found]
    if step is not None and step not in steps:
        raise CheckpointError(
            folder, f"holds no checkpoint of step {step}", f"those of {steps} are there" if steps else ""
        )
    damaged: dict[Path, str] = {}
    for path in reversed(found):
        if step is not None and step_of(path) != step:
            continue
        reason = damage(path)
        if reason is None:
            for name, why in damaged.items():
                tell(f"{name.name} cannot be used ({why}): going on from step {step_of(path)}")
            for newer in found[found.index(path) + 1 :]:
                remove(newer)
            return step_of(path)
        damaged[path] = reason
    if damaged:
        raise CheckpointError(
            folder,
            "; ".join(f"{path.name} is damaged ({why})" for path, why in damaged.items()),
            "put them back from a copy; or delete them, and the stage is begun again",
        )
    return 0


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint; None if every file is as it was written."""
    try:
        manifest = read_manifest(path)
        wrong = differences(manifest["files"], path)
        steps = {manifest["step"], json.loads((path / "state.json").read_text(encoding="utf-8"))["step"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    if steps != {step_of(path)}:
        wrong.append(f"it is of step {sorted(steps)}")
    return ", ".join(wrong) or None


def remove_torn(folder: Path) -> None:
    """Delete what a process killed while it wrote a checkpoint left behind."""
    for torn in folder.glob(".checkpoint-*"):
        remove(torn)


def load_checkpoint(
    path: Path,
    model: Model,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: RunningAverage | None = None,
) -> StageProgress:
    """Restore weights, their mean, optimizer and random state; returns where the stage was.

    Raises:
        CheckpointError: If a tensor is missing, unknown or of another shape, or a file is damaged.
    """
    saved, state, random, at = _read(path)
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
    if average is not None:
        _load_average(path / AVERAGE, average)
    peaks = [group["peak"] for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            path, f"the optimizer's state does not fit: {error}", "resume with the recipe that wrote it"
        ) from error
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["peak"] = peak  # a run may go on with other rates
    torch.set_rng_state(random["torch"])
    if model.device.type == "cuda" and "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"], model.device)
    return at


def _save_average(file: Path, average: RunningAverage) -> None:
    tensors = {name: tensor.cpu().contiguous() for name, tensor in average.tensors.items()}
    save_file(tensors, str(file), metadata={"count": str(average.count)})


def _load_average(file: Path, average: RunningAverage) -> None:
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in average.tensors}
            average.load(tensors, int(opened.metadata()["count"]))
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            file, f"cannot be read: {error}", "resume with the recipe that wrote it"
        ) from error


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


def not_finite(model: Model, objective: nn.Module) -> str | None:
    """Name of something a checkpoint would hold that is not finite; None if all is."""
    found = {name: t for name, t in _changing(model, objective).items() if t.is_floating_point()}
    sound = torch.stack([torch.isfinite(tensor).all().cpu() for tensor in found.values()])
    return None if bool(sound.all()) else list(found)[int(sound.int().argmin())]


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state
