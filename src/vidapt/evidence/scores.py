"""What is known of claims, token by token, and the file it is kept in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidapt.appended import Appended


@dataclass(frozen=True, slots=True)
class Score:
    """Of one claim, for each token of its values: log-probabilities, in nats.

    Attributes:
        seen: With the clip.
        blind: Without it.
        rival_seen: Of the likeliest other token there, with the clip.
        rival_blind: Of that token without it.
        other: The same with another clip, of which it is not said; None where there was none.
    """

    seen: tuple[float, ...]
    blind: tuple[float, ...]
    rival_seen: tuple[float, ...] = ()
    rival_blind: tuple[float, ...] = ()
    other: Score | None = None

    @property
    def tokens(self) -> int:
        """How many there are."""
        return len(self.seen)

    @property
    def evidence(self) -> float:
        """How much likelier the clip makes the claim."""
        return sum(self.seen) - sum(self.blind)

    @property
    def first(self) -> bool:
        """Whether the model, seeing the clip, would say the same."""
        return all(own > rival for own, rival in zip(self.seen, self.rival_seen, strict=True))

    def to_json(self) -> list[Any]:
        """As JSON holds it."""
        other = None if self.other is None else self.other.to_json()
        return [self.seen, self.blind, self.rival_seen, self.rival_blind, other]


@dataclass(frozen=True, slots=True)
class Scored:
    """A clip's rows.

    Attributes:
        claims: Scores of each row's claims.
        false: Of claims that were made false, with their types.
        unread: Why rows could not be read, by their places; the scores of their claims are empty.
    """

    claims: tuple[tuple[Score, ...], ...]
    false: tuple[tuple[str, Score], ...] = ()
    unread: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A clip that cannot be scored, and why."""

    reason: str


class Scores:
    """Scores in a file, by what they depend on.

    Args:
        kept: The file.
    """

    def __init__(self, kept: Appended) -> None:
        self._kept = kept
        self._known: dict[str, Scored | Unusable] = {}
        for _, line in kept.lines():
            if isinstance(line, dict) and (found := _read(line)) is not None:
                self._known[str(line.get("key"))] = found

    def get(self, key: str) -> Scored | Unusable | None:
        """What is known under a key."""
        return self._known.get(key)

    def put(self, key: str, found: Scored | Unusable) -> None:
        """Write down what was found."""
        if isinstance(found, Unusable):
            line: dict[str, Any] = {"key": key, "broken": found.reason}
        else:
            claims = [[score.to_json() for score in row] for row in found.claims]
            line = {
                "key": key,
                "claims": claims,
                "false": [[kind, score.to_json()] for kind, score in found.false],
                "unread": list(found.unread.items()),
            }
        self._kept.write(line)
        self._known[key] = found


def _read(line: Mapping[str, Any]) -> Scored | Unusable | None:
    """A line; None if it is damaged, so that its clip is scored again."""
    try:
        if "broken" in line:
            return Unusable(str(line["broken"]))
        claims = tuple(tuple(_score_of(one) for one in row) for row in line["claims"])
        false = tuple((str(kind), _score_of(one)) for kind, one in line["false"])
        return Scored(claims, false, {int(at): str(reason) for at, reason in line["unread"]})
    except (KeyError, TypeError, ValueError):
        return None


def _score_of(line: Sequence[Any]) -> Score:
    *four, other = line
    seen, blind, rival_seen, rival_blind = (tuple(map(float, one)) for one in four)
    if len({len(seen), len(blind), len(rival_seen), len(rival_blind)}) != 1:
        raise ValueError("damaged")
    return Score(seen, blind, rival_seen, rival_blind, None if other is None else _score_of(other))
