"""What is written down of a stage's steps: numbers, and steps that were left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from vidapt.files import disk_errors, write_text
from vidapt.training.faults import Fault
from vidapt.training.optimizer import rates_of
from vidapt.training.tracking import Trackers

Numbers = Mapping[str, float]

METRICS, FAULTS = "metrics.jsonl", "faults.jsonl"


@contextmanager
def stage_log(
    folder: Path, done: int, watch: Callable[[Numbers], Numbers], trackers: Trackers
) -> Iterator[Callable[[int, Numbers, torch.optim.Optimizer], None]]:
    """Numbers of steps as JSON lines and for trackers; lines after the checkpoint resumed from are cut.

    Args:
        folder: Of the stage's work.
        done: Steps that are done.
        watch: Told of every logged step's numbers; returns more of them.
        trackers: Get them, too.
    """
    path = folder / METRICS
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _cut(folder / FAULTS, done)
        for line in _cut(path, done):
            watch(json.loads(line))
        with path.open("a", encoding="utf-8") as file:

            def log(step: int, numbers: Numbers, optimizer: torch.optim.Optimizer) -> None:
                values = {**numbers, **watch(numbers)}
                rates = {f"rate/{part}": rate for part, rate in rates_of(optimizer).items()}
                trackers.log(values | rates, step)
                row = {"step": step, **{k: _short(k, v) for k, v in values.items()}, **rates}
                file.write(json.dumps(row) + "\n")
                file.flush()

            yield log


def log_fault(folder: Path, step: int, fault: Fault) -> None:
    """Write down a step that was left out."""
    with disk_errors(folder), (folder / FAULTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "found": fault.found, "where": fault.where}) + "\n")


def _cut(path: Path, done: int) -> list[str]:
    """Leave the lines of steps that are done, and give them."""
    if not path.exists() and path.name != METRICS:
        return []
    kept = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    # Where there is no checkpoint all is done again, also what is measured before the first step.
    rows = [line for line in kept if done and _step_of(line) <= done]
    write_text(path, "".join(line + "\n" for line in rows))
    return rows


def _short(name: str, value: float) -> float:
    return value if name.startswith("fork/") else round(value, 6)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
