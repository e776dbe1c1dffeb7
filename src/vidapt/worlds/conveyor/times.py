"""Questions about when something happened, answered by the stretch of time in which it did."""

from __future__ import annotations

import numpy as np

from vidapt.worlds.asked import QA
from vidapt.worlds.conveyor.events import Record
from vidapt.worlds.conveyor.language import CLAIMS
from vidapt.worlds.conveyor.line import END_S
from vidapt.worlds.conveyor.physics import FALL_S, LIFT_S, PUSH_S, REACH_S
from vidapt.worlds.phrases import Style

WHEN = "when"


def spans(record: Record) -> list[tuple[str, str, float, float]]:
    """What lasts: its question (`when:...`), the part or belt, and from when to when in seconds."""
    found = []
    for event in record.events:
        at = event.time_s
        if event.kind == "stop":
            again = [
                e.time_s for e in record.happened("start") if e.subject == event.subject and e.time_s > at
            ]
            found.append(("when:stop", event.subject, at, min([*again, END_S])))
        elif event.kind == "fall":
            found.append(("when:fall", event.subject, at, min(at + FALL_S, END_S)))
        elif event.kind == "push":
            found.append(("when:arm", event.subject, at - PUSH_S - REACH_S, at))
        elif event.kind == "pick":
            found.append(("when:arm", event.subject, at - REACH_S, min(at + LIFT_S, END_S)))
    return found


def ask_when(record: Record, style: Style, rng: np.random.Generator) -> list[QA]:
    """Ask when belts stood still, parts fell and the arm worked.

    Args:
        record: The truth.
        style: How to phrase the questions; answers are written alike in all, such as `1.2–2.6`.
        rng: Draws the wordings.
    """
    asked = []
    for kind, thing, begin, end in spans(record):
        noun = CLAIMS["stop" if kind == "when:stop" else "fall"][0]
        wordings = style.questions[kind]
        question = wordings[int(rng.integers(len(wordings)))].format(a=style.word(noun, thing))
        answer = f"{begin:.1f}–{end:.1f}"
        asked.append(QA(WHEN, question, answer, answer, (answer,)))
    return asked
