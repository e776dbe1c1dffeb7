"""What there is to look at, row by row, and how an index keeps it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from vidapt.claims import Claim
from vidapt.looking_over.made import Clause, Made, Origin, Text
from vidapt.nouns import Clip, Sample, Turn


@dataclass(frozen=True, slots=True)
class Item:
    """A row to look at.

    Attributes:
        sample: The row as it came.
        clips: Its clips, by their numbers in the book.
        verdict: What checks made of it.
        check: Which check; empty where it is kept as it came.
        reason: Why.
        now: As it was rewritten.
        origin: Where it comes from, if that is known.
        drawn: Whether it is one of the kept rows that are shown for comparison.
        split: Which part of the data it is in.
        differ: In what models, labels and answers differ about it, in words.
    """

    sample: Sample
    clips: tuple[int, ...]
    verdict: str = "keep"
    check: str = ""
    reason: str = ""
    now: Sample | None = None
    origin: Origin | None = None
    drawn: bool = False
    split: str = ""
    differ: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As an index keeps it, beside the columns that rows are found by."""
        origin = self.origin
        return {
            "sample": _plain(self.sample),
            "clips": self.clips,
            "verdict": self.verdict,
            "check": self.check,
            "reason": self.reason,
            "now": None if self.now is None else _plain(self.now),
            "origin": None
            if origin is None
            else {
                "made": origin.made.model_dump(exclude_defaults=True),
                "text": origin.text,
                "clauses": [one.model_dump(exclude_defaults=True) for one in origin.clauses],
            },
            "drawn": self.drawn,
            "split": self.split,
            "differ": self.differ,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Item:
        """Read what `to_json` gave."""
        origin = plain["origin"]
        if origin is not None:
            made, clauses = Made(**origin["made"]), tuple(Clause(**one) for one in origin["clauses"])
            origin = Origin(made, origin["text"], clauses)
        now = plain["now"]
        given: dict[str, Any] = {name: tuple(plain[name]) for name in ("clips", "differ")}
        given |= {name: plain[name] for name in ("verdict", "check", "reason", "drawn", "split")}
        return cls(
            _sample(plain["sample"]), now=None if now is None else _sample(now), origin=origin, **given
        )


class Said(BaseModel):
    """What a model said of a clip.

    Attributes:
        model: The name of its column.
        question: What it was asked.
        text: Its answer.
        right: Whether that counts as right; None where nobody says.
        frames: Seconds of the frames that it saw, from the first one of the file.
        arm: What it was shown, where that was not the clip: `blind`, `shuffled`, ...; else empty.
        sample: Id of the label that it was asked for; empty where it was asked for none.
    """

    model: Text
    question: Text
    text: Text
    right: bool | None = None
    frames: list[float] = []
    arm: str = ""
    sample: Text = ""


@dataclass(frozen=True)
class Column:
    """A model whose answers stand beside labels.

    Attributes:
        name: Its name on the page.
        place: What its answers were read from.
        policy: Which frames of a clip it sees, as its blueprint says; None where nobody knows.
    """

    name: str
    place: str
    policy: Mapping[str, Any] | None = None


Place = tuple[str, float, float | None]
"""Which footage: a path, and the stretch of it."""


def place_of(path: str | Path, start_s: float | None = 0.0, end_s: float | None = None) -> Place:
    """Which footage a path and a stretch are."""
    where = os.path.normpath(Path(path).absolute())
    return where, float(start_s or 0.0), None if end_s is None else float(end_s)


def _plain(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "media": [[clip.id, str(clip.path), clip.start_s, clip.end_s, clip.rate] for clip in sample.media],
        "turns": [[turn.role, turn.text] for turn in sample.turns],
        "rejected": sample.rejected,
        "facts": dict(sample.facts),
        "source": sample.source,
        "references": sample.references,
        "claims": [claim.to_dict() for claim in sample.claims],
    }


def _sample(plain: Mapping[str, Any]) -> Sample:
    media = tuple(Clip(name, Path(path), *rest) for name, path, *rest in plain["media"])
    turns = tuple(Turn(role, text) for role, text in plain["turns"])
    claims = tuple(Claim(**{**one, "values": tuple(map(tuple, one["values"]))}) for one in plain["claims"])
    bare = Sample(plain["id"], media, turns, plain["rejected"], plain["facts"], plain["source"])
    return replace(bare, references=tuple(plain["references"]), claims=claims)
