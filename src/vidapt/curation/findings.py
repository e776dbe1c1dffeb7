"""What a check of a data set found, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing to know of a data set.

    Attributes:
        level: An error has to be mended before training; a warning is for a person to judge.
        kind: What sort of thing: `row`, `missing`, `unreadable`, `note`, `duplicate`, `contradiction`,
            `alike`, `leak`, `likeness`, `blind` or `order`.
        where: `file:line`, or a file.
        found: What was found there.
    """

    level: Level
    kind: str
    where: str
    found: str


@dataclass(frozen=True)
class Blind:
    """What can be scored on questions of a type without looking at any clip.

    Attributes:
        type: The type.
        questions: How many there are.
        answers: How many different answers they have.
        majority: Share of the most common answer.
        blind: Share that is right if each question gets the most common answer of the *others* of its words,
            or, if there is none, of its type.
    """

    type: str
    questions: int
    answers: int
    majority: float
    blind: float


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        files: Label files that were looked at.
        rows: Their rows, unsound ones among them.
        clips: Different clips.
        findings: In the order of the rows, errors and warnings.
        blind: Of every type of questions.
    """

    files: Sequence[str]
    rows: int
    clips: int
    findings: Sequence[Finding]
    blind: Sequence[Blind]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(finding.level != "error" for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings of each kind there are."""
        return dict(Counter(finding.kind for finding in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "ok": self.ok, "counts": self.counts}
