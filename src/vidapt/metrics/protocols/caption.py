"""A judge says whether a caption agrees with the reference, yes or no, and how well, from 0 to 5.

Source: the recaptioning test of PLLaVA (Xu et al. 2024, arXiv 2404.16994), in which a judge of text alone
reads the reference and the caption. There a verdict that could not be had became "no" and 0; here it is
told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidapt.metrics.cases import Case, Measure, Steps, Told
from vidapt.metrics.protocols._agreement import ACCURACY, AVERAGE, QUOTED, agreed
from vidapt.metrics.protocols._references import referred
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

TASK = (
    "Two texts describe the same video. `reference` is known to be true. Say whether `caption` tells the "
    "same main things as the reference and contradicts none of them. What only one of the two mentions is no "
    "contradiction, but a caption that leaves out what matters most does not agree."
)


class Part:
    """Caption beside reference."""

    version = 1
    judged = True
    prompts = (TASK, QUOTED)
    purpose = "whether captions agree with the reference, by a judge of text"
    measures: tuple[Measure, ...] = (ACCURACY, AVERAGE)

    class Config(PartConfig):
        """Options.

        Attributes:
            prompt: What models are asked; None asks each row's own question.
        """

        prompt: str | None = None

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each row with a reference."""
        return [referred(row, self.cfg.prompt) for row in rows]

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Ask the judge."""
        del around
        references = told.case.truth["reference"]
        reference = references[0] if len(references) == 1 else references
        return agreed(TASK, told, {"reference": reference, "caption": told.answer})


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
