"""Lines of progress where there is no terminal: sparse, whole, and with the time that is left."""

import io
from typing import Any

import pytest
from rich.console import Console

from vidapt.progress import ProgressReporter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("vidapt.progress.time.monotonic", lambda: now[0])
    return now


def test_a_log_tells_the_time_left(clock: list[float]) -> None:
    lines = io.StringIO()
    report: Any = ProgressReporter(Console(file=lines, width=40))
    for done in range(1, 101):
        report("words", done, 100, "loss 1.0; " + "x" * 60)
        clock[0] += 1
    told = lines.getvalue().splitlines()
    assert told[0].startswith("words: 1/100 loss 1.0; xxx")
    assert told[1].startswith("words: 11/100, 0:01:29 left; loss")
    assert told[-1].startswith("words: 100/100 ")
    assert len(told) == 11
    assert all(line.endswith("x" * 60) for line in told)


def test_a_task_that_begins_again_is_timed_anew(clock: list[float]) -> None:
    lines = io.StringIO()
    report: Any = ProgressReporter(Console(file=lines))
    report("decode", 1, 3)
    clock[0] = 1000
    report("decode", 1, 3)
    clock[0] = 1010
    report("decode", 2, 3)
    assert lines.getvalue().splitlines() == ["decode: 1/3", "decode: 1/3", "decode: 2/3, 0:00:10 left"]
