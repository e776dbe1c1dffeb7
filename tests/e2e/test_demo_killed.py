"""The demonstration, stopped by Ctrl-C, then killed, then run to its end."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from killed_tools import Forked, one_thread, silent, stop_when

from vidapt.demo import DemoResult, Size, run_demo

SMALL = Size(
    8,
    3,
    (
        "stages.0.epochs=1",
        "stages.1.epochs=2",
        "stages.1.save_every=2",
        *(f"stages.{stage}.batching.{change}" for stage in (0, 1) for change in ("clips=4", "questions=6")),
    ),
)


def stopped_demonstration(out: Path) -> None:
    """What the command does, and how it ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as at a terminal
    try:
        run_demo(out, report=silent, size=SMALL, workers=1)
    except KeyboardInterrupt:
        sys.exit(130)  # as the command does; how Python itself ends depends on what libraries do at its end


def demonstrate(out: Path) -> DemoResult:
    with one_thread():
        return run_demo(out, report=silent, size=SMALL, workers=1)


def begin(out: Path) -> Forked:
    return Forked(stopped_demonstration, out)


def result_of(out: Path) -> dict[str, Any]:
    """What a demonstration found, without times and paths."""
    result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    for name in ("before", "after"):
        del result[name]["provenance"]["started"]
    del result["report"], result["run"]
    return result


def losses(out: Path) -> list[float]:
    """Losses as training logged them, stage by stage."""
    files = sorted((out / "runs").rglob("metrics.jsonl"))
    return [json.loads(line)["loss"] for file in files for line in file.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(900)  # it starts two processes, which import torch; that takes long on a busy machine
def test_a_demonstration_stopped_twice_ends_as_one_that_was_not(tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    answered = cut / "before" / "predictions.jsonl"
    assert stop_when(answered.exists, begin(cut), signal.SIGINT) == 130
    assert not (cut / "runs").exists()

    steps = cut / "runs" / "billiards-adapt" / "02-eyes" / "work"
    assert stop_when(lambda: list(steps.glob("checkpoint-*")), begin(cut)) == -signal.SIGKILL
    assert not (cut / "after").exists()

    result = demonstrate(cut)
    assert result.report.is_file()
    demonstrate(whole)
    assert result_of(cut) == result_of(whole)
    assert losses(cut) == losses(whole)

    # So little training makes no better answers; that it learns the venue's wording can be seen.
    assert losses(whole)[-1] < losses(whole)[0]
    assert result_of(whole)["before"]["arms"] != result_of(whole)["after"]["arms"]
