"""Checkpoints inside a stage: written whole or not at all, and enough to go on exactly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vidapt.errors import CheckpointError
from vidapt.files import write_folder
from vidapt.models.video_lm import VideoLM
from vidapt.training.optimizer import trainable

KEEP = 2


def save_checkpoint(
    folder: Path, model: VideoLM, objective: nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> Path:
    """Write `checkpoint-STEP` and drop all but the newest `KEEP`.

    Args:
        folder: The stage's folder.
        model: Only its trainable weights are written; the rest has not changed.
        objective: Its own weights are written too.
        optimizer: Its state.
        step: Steps done.
    """
    path = folder / f"checkpoint-{step:08d}"
    with write_folder(path) as temporary:
        weights = {name: w.detach().cpu().contiguous() for name, w in trainable(model, objective)}
        save_file(weights, str(temporary / "trainable.safetensors"))
        torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
        torch.save({"torch": torch.get_rng_state()}, temporary / "random.pt")
        (temporary / "state.json").write_text(json.dumps({"step": step}), encoding="utf-8")
    for old in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a stage, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*") if (path / "state.json").exists())


def load_checkpoint(
    path: Path, model: VideoLM, objective: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Restore weights, optimizer and random state; returns the steps done.

    Raises:
        CheckpointError: If a tensor is missing, unknown or of another shape, or a file is damaged.
    """
    try:
        saved = load_file(path / "trainable.safetensors")
        state: dict[str, Any] = torch.load(path / "optimizer.pt", weights_only=True)
        random = torch.load(path / "random.pt", weights_only=True)
        step = int(json.loads((path / "state.json").read_text(encoding="utf-8"))["step"])
    except Exception as error:
        raise CheckpointError(
            path, f"cannot be read: {error}", "delete this checkpoint and resume again"
        ) from error
    wanted = dict(trainable(model, objective))
    if saved.keys() != wanted.keys():
        odd = sorted(saved.keys() ^ wanted.keys())
        raise CheckpointError(path, f"weights do not fit: {odd[:5]}", "resume with the recipe that wrote it")
    with torch.no_grad():
        for name, weight in wanted.items():
            if weight.shape != saved[name].shape:
                raise CheckpointError(path, f"{name}: {tuple(saved[name].shape)} for {tuple(weight.shape)}")
            weight.copy_(saved[name])
    optimizer.load_state_dict(state)
    torch.set_rng_state(random["torch"])
    return step
