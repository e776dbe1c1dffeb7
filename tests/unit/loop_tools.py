"""A model of two numbers, of which one learns, and the work of a stage that trains it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidapt.objectives import Loss
from vidapt.recipe import Stage
from vidapt.training.work import StageWork

RATE = 1e-3


class Pair(nn.Module):
    """Two numbers where a video-language model has its parts, and one that does not learn."""

    towers = scenes = resolution = None
    device = torch.device("cpu")
    fixed: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.connector = nn.Linear(1, 1, bias=False)
        self.language = nn.Linear(1, 1, bias=False)
        self.language.requires_grad_(False)
        with torch.no_grad():
            self.connector.weight.fill_(1.0)
            self.language.weight.fill_(1.0)


class Asked(nn.Module):
    """A loss that is what the batch says, with a slope of `steep` times the learning number."""

    def __init__(self, steep: float = 1.0) -> None:
        super().__init__()
        self.steep = steep
        self.modes: list[tuple[bool, bool]] = []
        self.chance: list[float] = []
        self.after: list[float] = []

    def forward(self, model: Pair, batch: float) -> Loss:
        self.modes.append((model.connector.training, model.language.training))
        self.chance.append(float(torch.rand(1, dtype=torch.float64)))
        weight = model.connector.weight.sum()
        total = 4.0 * (batch + self.steep * (weight - weight.detach()))
        return Loss(total, 4.0, {"loss/half": 2.0 * batch})

    def after_step(self, model: Pair) -> None:
        self.after.append(float(model.connector.weight.detach()))


def stage(**changes: Any) -> Stage:
    settings = {"rates": {"connector": RATE}, "warmup": 0.0, "decay": "constant", "floor": 0.0}
    settings |= changes.pop("optimizer", {})
    given = {"name": "a", "steps": 25, "save_every": 7, "train": {"language": "frozen"}, **changes}
    return Stage.model_validate({**given, "optimizer": settings})


def work_of(folder: Path, *, objective: nn.Module | None = None, **changes: Any) -> StageWork:
    given: dict[str, Any] = {
        "stage": stage(),
        "index": 0,
        "seed": 0,
        "batches": lambda number: [float(number)],
        "visits": lambda number: [],
    }
    given |= changes
    given.setdefault("steps", given["stage"].steps)
    return StageWork(folder=folder, objective=objective or Asked(), **given)


def batches_of(losses: list[Any]) -> Callable[[int], list[Any]]:
    """One portion a step; none where there is no loss."""
    return lambda number: [] if losses[number] is None else [losses[number]]


def quiet(done: int, total: int, loss: float) -> None:
    """Report nothing."""


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def saved(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))
