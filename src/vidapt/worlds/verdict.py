"""What a world's judge says about a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Verdict(Generic[C]):
    """What became of a text's claims, which are of the world's own kind `C`.

    Attributes:
        supported: Claims that the log bears out.
        false: Claims that it does not.
        unparsed: Sentences that are no claim in any style.
        salient: Claims that a full description makes.
        recalled: Those among them that the text makes too.
    """

    supported: tuple[C, ...]
    false: tuple[C, ...]
    unparsed: tuple[str, ...]
    salient: tuple[C, ...]
    recalled: tuple[C, ...]

    @property
    def precision(self) -> float:
        """Share of all sentences that are true claims; 1 if nothing is said."""
        said = len(self.supported) + len(self.false) + len(self.unparsed)
        return len(self.supported) / said if said else 1.0

    @property
    def recall(self) -> float:
        """Share of the salient claims that are made; 1 if there is none."""
        return len(self.recalled) / len(self.salient) if self.salient else 1.0
