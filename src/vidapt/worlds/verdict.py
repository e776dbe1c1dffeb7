"""What a world's judge says about a text."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
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

    @classmethod
    def of(
        cls,
        claims: Sequence[C],
        is_true: Callable[[C], bool],
        *,
        unparsed: Sequence[str],
        salient: Sequence[C],
        said: Container[C],
    ) -> Verdict[C]:
        """Check claims.

        Args:
            claims: What a text claims.
            is_true: Whether the log bears a claim out.
            unparsed: What it says besides.
            salient: The claims of a full description.
            said: The claims, and what they amount to in other words.
        """
        return cls(
            supported=tuple(claim for claim in claims if is_true(claim)),
            false=tuple(claim for claim in claims if not is_true(claim)),
            unparsed=tuple(unparsed),
            salient=tuple(salient),
            recalled=tuple(claim for claim in salient if claim in said),
        )

    @property
    def precision(self) -> float:
        """Share of all sentences that are true claims; 1 if nothing is said."""
        said = len(self.supported) + len(self.false) + len(self.unparsed)
        return len(self.supported) / said if said else 1.0

    @property
    def recall(self) -> float:
        """Share of the salient claims that are made; 1 if there is none."""
        return len(self.recalled) / len(self.salient) if self.salient else 1.0
