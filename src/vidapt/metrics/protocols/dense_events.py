"""Events with their times: how many of the true ones a text tells at about the right time.

Source: recall and precision at thresholds of temporal intersection over union, as dense captioning reports
them (Krishna et al. 2017, "Dense-captioning events in videos", arXiv 1705.00754). Each true event is
matched with one of the text's at most.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from vidapt.errors import ConfigError
from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Steps, Told, settled, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.spans import Stretch, overlap, read_stretches
from vidapt.metrics.text import word_f1
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

AT = (0.3, 0.5, 0.7)
_EXAMPLE = '"events": [{"start": 1.2, "end": 3.0, "text": "the red ball falls"}]'
_STARTS, _ENDS = ("start", "start_s", "t0", "begin"), ("end", "end_s", "t1")
_TEXTS = ("text", "caption", "event", "label", "sentence")
Event = tuple[Stretch, str]


class Part:
    """Dense events."""

    version = 1
    judged = False
    purpose = "events told at the right times"
    measures: tuple[Measure, ...] = (
        *(Measure(f"recall@IoU {at:g}") for at in AT),
        *(Measure(f"precision@IoU {at:g}") for at in AT),
        Measure("mean IoU of true events"),
    )

    class Config(PartConfig):
        """Options.

        Attributes:
            alike: Word F1 that the words of two events need to be matched; 0 looks at times alone.
            prompt: What models are asked; None asks each row's own question.
        """

        alike: float = Field(0.0, ge=0, le=1)
        prompt: str | None = None

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each row with timed events."""
        found = []
        for row in rows:
            events = _listed(row)
            reference = row.answer or "\n".join(f"{a:g}–{b:g} s: {text}" for (a, b), text in events)
            posed = Posed(self.cfg.prompt or columns.asked(row), reference, free=True)
            truth = {"events": [[a, b, text] for (a, b), text in events]}
            found.append(Case(row.id, row.media[0], (posed,), truth, source=columns.source(row), row=row.id))
        return found

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Match events by their times, the best pairs first."""
        del around
        true = [((float(a), float(b)), str(text)) for a, b, text in told.case.truth["events"]]
        said = read_events(told.answer)
        matched = self._matched(true, said)
        terms = {}
        for at in AT:
            hits = sum(value >= at for value in matched)
            terms[f"recall@IoU {at:g}"] = share(hits / len(true))
            terms[f"precision@IoU {at:g}"] = share(hits / len(said) if said else 0.0)
        terms["mean IoU of true events"] = share(sum(matched) / len(true))
        shown = {"said": [[a, b, text] for (a, b), text in said], "overlaps": matched}
        return settled(Outcome(terms, shown))

    def _matched(self, true: Sequence[Event], said: Sequence[Event]) -> list[float]:
        """Overlaps of matched events, each used once."""
        pairs = sorted(
            (
                (overlap(one[0], other[0]), i, j)
                for i, one in enumerate(true)
                for j, other in enumerate(said)
                if not self.cfg.alike or word_f1(one[1], other[1]) >= self.cfg.alike
            ),
            key=lambda pair: (-pair[0], pair[1], pair[2]),
        )
        used: tuple[set[int], set[int]] = set(), set()
        found = []
        for value, i, j in pairs:
            if value > 0 and i not in used[0] and j not in used[1]:
                used[0].add(i)
                used[1].add(j)
                found.append(value)
        return found


def read_events(text: str) -> list[Event]:
    """Events that a text tells: JSON as labels have it, or lines and sentences with a time each."""
    start = text.find("[")
    if start >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, list) and (events := [one for one in map(_event, value) if one is not None]):
            return events
    # A sentence ends before a space; the point of a decimal does not.
    pieces = [piece for line in text.split("\n") for piece in line.replace("; ", ". ").split(". ")]
    timed = [(read_stretches(piece), piece.strip()) for piece in pieces]
    return [(stretches[0], piece) for stretches, piece in timed if stretches]


def _listed(row: Sample) -> list[Event]:
    given = columns.need(row, columns.EVENTS, _EXAMPLE)
    events = [_event(one) for one in given] if isinstance(given, list) else [None]
    found = [one for one in events if one is not None]
    if not found or len(found) < len(events):
        raise ConfigError(columns.where(row), "an event of it has no times", f"write it as {_EXAMPLE}")
    return found


def _event(value: Any) -> Event | None:
    if not isinstance(value, dict):
        return None
    first = next((value[key] for key in _STARTS if key in value), None)
    last = next((value[key] for key in _ENDS if key in value), None)
    text = next((str(value[key]) for key in _TEXTS if key in value), "")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (first, last)):
        return None
    assert first is not None
    assert last is not None
    return ((float(first), float(last)), text) if 0 <= first <= last < float("inf") else None


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
