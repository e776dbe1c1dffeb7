"""Questions about when something happened, answered by the stretch of time in which it did."""

from __future__ import annotations

import numpy as np

from vidapt.worlds.asked import QA
from vidapt.worlds.billiards.events import Record
from vidapt.worlds.billiards.language import Style

WHEN = "when"


def rolls(record: Record) -> dict[str, tuple[float, float]]:
    """From when to when each pocketed ball rolled towards its pocket, in seconds from the first frame.

    It begins when the ball last met another one, and ends when it falls.
    """
    found: dict[str, tuple[float, float]] = {}
    begun: dict[str, float] = {}
    for event in record.events:
        if event.kind == "hit":
            begun[event.ball] = begun[event.other] = event.time_s
        elif event.kind == "pocket" and event.ball in record.pocketed:
            found[event.ball] = begun.get(event.ball, 0.0), event.time_s
    return found


def ask_when(record: Record, style: Style, rng: np.random.Generator) -> list[QA]:
    """Ask of every pocketed ball when that was.

    Args:
        record: The truth.
        style: How to phrase the questions; answers are written alike in all, such as `1.2–2.6`.
        rng: Draws the wordings.
    """
    wordings = style.questions[WHEN]
    asked = []
    for ball, (begin, end) in rolls(record).items():
        question = wordings[int(rng.integers(len(wordings)))].format(c=ball)
        answer = f"{begin:.1f}–{end:.1f}"
        asked.append(QA(WHEN, question, answer, answer, (answer,)))
    return asked
