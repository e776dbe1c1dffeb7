"""The result of a job: numbers and a verdict for each type, as JSON and as a table, and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AllowInfNan, BaseModel, ConfigDict, ValidationError

from vidapt.errors import ConfigError
from vidapt.metrics.intervals import Interval
from vidapt.probing.facts import Kind
from vidapt.probing.numbers import Known
from vidapt.probing.pooled import CONNECTOR
from vidapt.probing.verdicts import WORDS, Verdict
from vidapt.version import VERSION

HEAD = ("type", "n", "sources", "majority", "tower", "shuffled", "connector", "own answers", "verdict")


@dataclass(frozen=True)
class Type:
    """What was found of one type.

    Attributes:
        name: Of the questions, or what a teacher stated.
        kind: Which of these.
        n: Examples that were used.
        sources: What hangs together among them.
        answers: How many different ones there are.
        facts: What was probed by itself, by name, with the number of examples.
        left_out: Examples of what was too few to probe.
        wordings: Normalised questions of what was probed.
        majority: Share of the most common answers, of each fact by itself.
        places: By place and probe.
        own: The model's own answers; None where it was not asked.
        ahead: By how much the best place's probe is above these, paired.
        verdict: See `verdicts.WORDS`.
    """

    name: str
    kind: Kind
    n: int
    sources: int
    answers: int
    facts: Mapping[str, int]
    left_out: int
    wordings: Sequence[str]
    majority: Interval | None
    places: Mapping[str, Mapping[str, Known]]
    own: Known | None
    ahead: Interval | None
    verdict: Verdict

    @property
    def tower(self) -> str:
        """The tower that knows most."""
        towers = [place for place in self.places if place != CONNECTOR]
        return max(towers, key=lambda place: self.places[place]["chosen"].value)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"says": WORDS[self.verdict]}

    def row(self) -> list[str]:
        """As a line of a table."""
        head = [self.name, str(self.n), str(self.sources)]
        if self.majority is None:
            return [*head, *[""] * 5, self.verdict]
        tower = self.places[self.tower]
        return [
            *head,
            f"{self.majority.value:.2f}",
            tower["chosen"].cell(),
            f"{tower['shuffled'].value:.2f}",
            self.places[CONNECTOR]["chosen"].cell(),
            "" if self.own is None else self.own.cell(),
            self.verdict,
        ]


@dataclass(frozen=True)
class Result:
    """What a job found; `probe.json` holds the same.

    Attributes:
        model: Its name.
        fingerprint: Of all its answers depend on.
        labels: Fingerprint of the questions.
        clips: That were used.
        broken: Names of clips that cannot be used, with what is wrong.
        unsound: Rows that are no labels, by their places.
        unread: Ids of labels whose question the model cannot read, with why; they are left out.
        folds: How many.
        sessions: What counts as a session, in words.
        tokens: Most tokens of a clip that were looked at, in each place.
        types: The least visible first.
        version: Of vidapt.
    """

    model: str
    fingerprint: str
    labels: str
    clips: int
    broken: Mapping[str, str]
    unsound: Mapping[str, str]
    unread: Mapping[str, str]
    folds: int
    sessions: str
    tokens: int
    types: Sequence[Type]
    version: str = VERSION

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"types": [one.to_dict() for one in self.types]}

    def rows(self) -> list[list[str]]:
        """As lines of a table (`HEAD`)."""
        return [one.row() for one in self.types]


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Visibility(_Loose):
    value: Annotated[float, AllowInfNan(False)]


class _Known(_Loose):
    visibility: _Visibility | None


class Judged(_Loose):
    """What others need to know of a type.

    Attributes:
        name: As `Type` has it.
        kind: Likewise.
        verdict: Likewise.
        wordings: Likewise.
        places: Likewise.
    """

    name: str
    kind: Kind
    verdict: Verdict
    wordings: tuple[str, ...] = ()
    places: dict[str, dict[str, _Known]] = {}

    @property
    def visibility(self) -> float:
        """The most that any place's probe knows of it; 0 where nothing does."""
        known = [probes["chosen"].visibility for probes in self.places.values() if "chosen" in probes]
        return max((one.value for one in known if one is not None), default=0.0)


class _File(_Loose):
    types: tuple[Judged, ...]


def read_types(path: Path) -> tuple[Judged, ...]:
    """The types of a file of results.

    Raises:
        ConfigError: If it cannot be read, or is none.
    """
    try:
        return _File.model_validate(json.loads(path.read_bytes())).types
    except OSError as error:
        told = f"cannot be read ({error.strerror})"
        raise ConfigError(path, told, "name a file of `vidapt probe`") from None
    except (ValueError, RecursionError, ValidationError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(path, f"is no result of `vidapt probe` ({told})", "probe anew") from None
