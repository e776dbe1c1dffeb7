"""Train a recipe in processes that are killed at random moments, one after another, until it is done.

What each kill met is written down: the newest checkpoint, and whether one was being written. Processes are
forked from this one, which has imported what is slow and does not compute.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from vidapt.recipe import load_recipe
from vidapt.training.run import train

EARLY = 0.2
"""Share of kills before the first step is done."""


def child(recipe: Path, runs: Path, begun: int) -> int:
    """Go on with the run in a process of its own, which says when it learns; gives its number."""
    number = os.fork()
    if number:
        return number

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "a":
            os.write(begun, b"x")

    try:
        torch.set_num_threads(1)
        given = load_recipe(recipe)
        train(given, runs, report, workers=0, resume=(runs / given.name).exists())
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - it must not go on as the process it came from
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def finished(recipe: Path, runs: Path) -> tuple[float, float]:
    """Seconds until a run (or what is left of it) learns, and those it learns for."""
    started, (reads, writes) = time.monotonic(), os.pipe()
    number = child(recipe, runs, writes)
    os.close(writes)
    os.read(reads, 1)
    begun = time.monotonic()
    while os.read(reads, 4096):
        pass
    _, status = os.waitpid(number, 0)
    assert status == 0, status
    return begun - started, time.monotonic() - begun


def killed(recipe: Path, runs: Path, early_s: float | None, late_s: float) -> dict[str, object]:
    """Start it, and kill it some seconds after its beginning, or after its first step."""
    reads, writes = os.pipe()
    number = child(recipe, runs, writes)
    os.close(writes)
    if early_s is None:
        os.read(reads, 1)
    time.sleep(late_s if early_s is None else early_s)
    os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    os.close(reads)
    work = next(iter(runs.glob("*/01-*/work")), runs)
    return {
        "step": max((int(path.name[-8:]) for path in work.glob("checkpoint-*")), default=0),
        "saving": any(work.glob(".checkpoint-*")),
        "killed": os.WIFSIGNALED(status),
    }


def kill_often(recipe: Path, runs: Path, kills: int, seed: int, told: Path) -> None:
    """Carry it out once as it is, and once with kills; what these met is written as JSON."""
    start_s, learn_s = finished(recipe, runs / "whole")
    chance, met = random.Random(seed), list[dict[str, object]]()
    for _ in range(kills):
        early = chance.uniform(0, start_s) if chance.random() < EARLY else None
        met.append(killed(recipe, runs / "cut", early, chance.uniform(0, learn_s / kills)))
    finished(recipe, runs / "cut")
    told.write_text(json.dumps({"start_s": start_s, "learn_s": learn_s, "met": met}), encoding="utf-8")
