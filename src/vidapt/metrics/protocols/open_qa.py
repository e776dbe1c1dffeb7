"""A judge says whether an answer to an open question means what the reference says, and how well.

Source: zero-shot question answering of Video-ChatGPT (Maaz et al. 2023, arXiv 2306.05424), whose prompts are
not copied. There a reply without yes or no left the denominator; here it is told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidapt.metrics.cases import Case, Measure, Steps, Told
from vidapt.metrics.protocols._agreement import ACCURACY, AVERAGE, QUOTED, agreed
from vidapt.metrics.protocols._references import referred
from vidapt.nouns import MEDIA, Sample
from vidapt.parts import PartConfig

TASK = (
    "A question about a video was answered. `reference` is a right answer. Say whether `answer` means the "
    "same as far as the question asks. Other words for the same thing agree; further details that contradict "
    "nothing do no harm; an answer to another question does not agree."
)


class Part:
    """Answer beside reference."""

    version = 1
    judged = True
    prompts = (TASK, QUOTED)
    purpose = "whether answers to open questions are right, by a judge of text"
    measures: tuple[Measure, ...] = (ACCURACY, AVERAGE)

    class Config(PartConfig):
        """No options."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each question."""
        return [referred(row, kind=str(row.facts.get("type", ""))) for row in rows]

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Ask the judge."""
        del around
        references = told.case.truth["reference"]
        values = {
            "question": told.case.posed[0].text.replace(MEDIA, " ").strip(),
            "reference": references[0] if len(references) == 1 else references,
            "answer": told.answer,
        }
        return agreed(TASK, told, values)


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
