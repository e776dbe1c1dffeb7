"""What must not happen while something else is learned: answers that are empty, refuse, or grow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vidapt.labelling.refusals import refusal


@dataclass(frozen=True)
class Guards:
    """Of answers as a model writes them.

    Attributes:
        empty: Share without a word.
        refused: Share that refuses.
        words: Mean number of words.
    """

    empty: float
    refused: float
    words: float

    def to_dict(self) -> dict[str, float]:
        """As the log holds it."""
        return {"empty": self.empty, "refused": self.refused, "words": self.words}


def guards_of(texts: Iterable[str]) -> Guards | None:
    """Of answers; None without any."""
    texts = list(texts)
    if not texts:
        return None
    return Guards(
        sum(not text.strip() for text in texts) / len(texts),
        sum(refusal(text) is not None for text in texts) / len(texts),
        sum(len(text.split()) for text in texts) / len(texts),
    )
