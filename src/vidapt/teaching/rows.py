"""What is written of each clip: its labels, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidapt.errors import FormatError
from vidapt.formats.vidapt_jsonl import as_written
from vidapt.labelling.refusals import refusal
from vidapt.nouns import Clip, Sample, Turn
from vidapt.teaching.agree import Fact

CAPTION, QUESTION = "caption", "question"


@dataclass(frozen=True, slots=True)
class Part:
    """A clause of a label.

    Attributes:
        text: Its words.
        facts: Ids of the facts that it tells.
        borne_out: Share of its longer words that stand in these facts.
    """

    text: str
    facts: tuple[str, ...]
    borne_out: float


@dataclass(frozen=True, slots=True)
class Label:
    """One text to learn.

    Attributes:
        kind: `caption` or `question`.
        question: What the user says.
        text: What the model is to say.
        type: Of a question, as the teacher calls it.
        parts: Its clauses with their facts; none where it was not made of facts.
    """

    kind: str
    question: str
    text: str
    type: str = ""
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Voice:
    """One of several answers.

    Attributes:
        teacher: Whose.
        seed: Of its sampling.
        text: Its words; of facts, JSON.
        agreement: With the others; None where there are none.
        cut_off: Whether the limit ended it.
    """

    teacher: str
    seed: int
    text: str
    agreement: float | None
    cut_off: bool


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a mode makes of a clip.

    Attributes:
        labels: Texts to learn.
        facts: What they rest on.
        voices: The answers.
        agreement: Of the voices; None where there is one.
        flags: What whoever cleans labels should know.
    """

    labels: tuple[Label, ...]
    facts: tuple[Fact, ...] = ()
    voices: tuple[Voice, ...] = ()
    agreement: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelRow:
    """One clip's labels and what made them; `docs/label.md` describes every column.

    Raises:
        TypeError: If columns are missing or unknown.
    """

    key: str
    clip: str
    path: str
    folder: str
    start_s: float
    end_s: float | None
    rate: float | None
    mode: str
    settings: str
    teachers: list[str]
    frames: list[float]
    size: list[int]
    length_s: float
    movement: float
    labels: list[dict[str, Any]]
    facts: list[dict[str, Any]]
    voices: list[dict[str, Any]]
    agreement: float | None
    rounds: int
    flags: list[str]
    calls: list[dict[str, Any]]
    usage: dict[str, Any]
    notes: list[str]
    created: str
    version: str
    again: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Its labels as samples of a label file in a folder."""
        clip = as_written(Clip(self.clip, Path(self.path), self.start_s, self.end_s, self.rate), folder)
        for label in self.labels:
            turns = (Turn("user", label["question"]), Turn("assistant", label["text"]))
            kind = {"type": label["type"]} if label["type"] else {}
            yield Sample(label["id"], (clip,), turns, facts=kind)


@dataclass(frozen=True)
class Broken:
    """A clip without labels.

    Attributes:
        key: As its row would have had.
        clip: Its name.
        reason: Why.
        settings: As its row would have had.
        usage: What was spent on it.
    """

    key: str
    clip: str
    reason: str
    settings: str
    usage: Mapping[str, Any] = field(default_factory=dict)


def refused(labelled: Labelled) -> str | None:
    """The words in which all of a clip's labels refuse; None if one does not."""
    found = [refusal(label.text) for label in labelled.labels]
    return f"it refuses: {found[0]!r}" if found and all(found) else None


def read_rows(path: Path) -> Iterator[LabelRow]:
    """The rows of a file of provenance, one after the other.

    Raises:
        FormatError: If it cannot be read or holds anything else.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                yield LabelRow(**json.loads(line))
    except OSError as error:
        raise FormatError(path, f"cannot be read ({error.strerror})", "name a provenance file") from error
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}:{number}", f"is no row of labels ({error})", "label anew") from None


def plain_facts(facts: tuple[Fact, ...]) -> list[dict[str, Any]]:
    """Facts as JSON holds them."""
    return [
        {
            "id": fact.id,
            "kind": fact.kind,
            "subject": fact.stated.subject,
            "predicate": fact.stated.predicate,
            "object": fact.stated.object,
            "attributes": list(fact.stated.attributes),
            "start_s": round(fact.stated.start_s, 3),
            "end_s": round(fact.stated.end_s, 3),
            "visibility": fact.stated.visibility,
            "votes": fact.votes,
            "of": fact.of,
            "teachers": list(fact.teachers),
        }
        for fact in facts
    ]


def plain_labels(clip: str, labels: tuple[Label, ...]) -> list[dict[str, Any]]:
    """Labels as JSON holds them, each with its id; types are words of small letters."""
    rows, asked = [], 0
    for label in labels:
        asked += label.kind == QUESTION
        name = clip if label.kind == CAPTION else f"{clip}#{asked}"
        kind = CAPTION if label.kind == CAPTION else "_".join(label.type.lower().split()) or QUESTION
        parts = [asdict(part) | {"facts": list(part.facts)} for part in label.parts]
        rows.append(asdict(label) | {"id": name, "type": kind, "parts": parts})
    return rows
