"""A question about a clip of a world, and every answer that counts as right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class QA:
    """A question and its answer.

    Attributes:
        type: One of the world's types of question.
        question: As the venue's people ask it.
        answer: As they answer it.
        value: The answer without any style, such as `red`, `top left`, `yes`, `3`, `absent`.
        accept: Every normalised answer that counts as right, whatever the style.
    """

    type: str
    question: str
    answer: str
    value: str
    accept: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """The `facts` of a label line."""
        return {"type": self.type, "value": self.value, "accept": list(self.accept)}


def normalise(text: str) -> str:
    """Lower-case words with single spaces, without punctuation: the form in which answers are compared."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))
