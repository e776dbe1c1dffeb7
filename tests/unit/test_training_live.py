"""The line that is shown while a stage trains."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from vidapt.recipe import Stage
from vidapt.training.live import LiveLine

STAGE = Stage.model_validate(
    {"name": "a", "steps": 10, "optimizer": {"rates": {"language": 1e-3}, "warmup": 0.0, "decay": "linear"}}
)


@dataclass
class Handed:
    tokens_s: float | None = None
    share: float | None = None


def line(handed: Handed, *notes: str) -> tuple[LiveLine, list[str]]:
    shown: list[str] = []

    def report(task: str, done: int, total: int, note: str = "") -> None:
        assert (task, total) == ("a", 10)
        shown.append(f"{done}: {note}")

    return LiveLine(report, STAGE, handed, *[lambda note=note: note for note in notes]), shown  # type: ignore[arg-type, misc]


def test_a_line_tells_loss_rates_speed_waiting_and_notes() -> None:
    told, shown = line(Handed(12_345.0, 0.25), "", "2 clips are broken")
    told(6, 10, 0.12345)
    assert shown == ["6: loss 0.123; rates at 50%; 12.3 k tokens/s; waited 25% for data; 2 clips are broken"]


def test_what_is_not_worth_telling_is_left_out() -> None:
    told, shown = line(Handed(None, 0.01))
    told(1, 10, 2.0)
    assert shown == ["1: loss 2.000; rates at 100%"]


@pytest.mark.parametrize(
    ("speed", "words"), [(999.0, "999 tokens/s"), (1000.0, "1 k tokens/s"), (2.5e6, "2.5 M tokens/s")]
)
def test_speeds_are_short(speed: float, words: str) -> None:
    told, shown = line(Handed(speed))
    told(1, 10, 2.0)
    assert shown[0].endswith(words)


def test_what_was_measured_last_stays_in_the_line() -> None:
    told, shown = line(Handed())
    numbers = iter(({"measure/test/accuracy": 0.5, "measure/test/loss": 1.0}, {"test/loss": 0.75}))
    measure = told.measuring(lambda done: next(numbers))
    assert measure is not None
    assert measure(0) == {"measure/test/accuracy": 0.5, "measure/test/loss": 1.0}
    told(1, 10, 2.0)
    told(2, 10, 2.0)
    measure(2)
    told(3, 10, 2.0)
    assert [one.rpartition("; ")[2] for one in shown] == [
        "test/accuracy 0.5",
        "test/accuracy 0.5",
        "test/loss 0.75",
    ]
    assert told.measuring(None) is None
