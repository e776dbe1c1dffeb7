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


def test_the_last_line_is_told_once_until_the_task_begins_anew(clock: list[float]) -> None:
    lines = io.StringIO()
    report: Any = ProgressReporter(Console(file=lines))
    for done, note in ((0, ""), (3, "2 clips/s"), (3, "1.9 clips/s"), (3, "1 note"), (0, ""), (3, "")):
        clock[0] += 20
        report("caption", done, 3, note)
    told = lines.getvalue().splitlines()
    ends = ["caption: 3/3 2 clips/s", "caption: 3/3 1 note"]
    assert told == ["caption: 0/3", *ends, "caption: 0/3", "caption: 3/3"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_narrow_terminal_has_a_bar_and_what_is_told_beside_it(width: int) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=width, color_system=None)
    report: Any = ProgressReporter(console)
    note = "2.37 clips/s (85% of the limit), waited 70%"
    report("wait for the list of clips", 400, 1000, note)
    console.print(*report._bars.get_renderables(), sep="\n")
    bars, below, *_ = shown.getvalue().splitlines()
    assert "\u2501" * 3 in bars, "there is a bar"
    assert "400/1000" in bars or width < 80
    assert note in below
    assert len(bars.rstrip()) <= width
