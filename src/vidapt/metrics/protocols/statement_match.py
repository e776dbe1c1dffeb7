"""Whether true statements fit a clip better than false ones: AUC, and the margin in standard deviations.

Source: statement matching of HiLight (Wang et al. 2024, arXiv 2407.07325) by raw margins, which change with
the scale of a model's scores; AUC and z do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import pstdev

from vidapt.metrics.cases import Case, Measure, Outcome, Steps, Told, settled, share
from vidapt.metrics.protocols._statements import compared, statements
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

_WIDEST = 10.0
"""Margins beyond so many standard deviations count as so many."""


class Part:
    """True against false statements."""

    version = 1
    judged = False
    purpose = "whether true statements fit a clip better than false ones"
    measures: tuple[Measure, ...] = (
        Measure("AUC"),
        Measure("best true above all false"),
        Measure("z-margin", low=-_WIDEST, high=_WIDEST, unit="points"),
    )

    class Config(PartConfig):
        """No options."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each row with statements."""
        return [compared(row, *statements(row)) for row in rows]

    def around(self, told: Sequence[Told]) -> float:
        """Standard deviation of all scores that a model gave."""
        scores = [score for one in told for row in one.scores for score in row]
        return pstdev(scores) if len(scores) > 1 else 0.0

    def steps(self, told: Told, around: float) -> Steps:
        """Compare the scores; a tie wins half a pair."""
        count = int(told.case.truth["true"])
        row = told.scores[0] if told.scores else ()
        if len(row) != len(told.case.posed[0].options):
            return settled(_worst())
        true, false = row[:count], row[count:]
        pairs = [(t > f) + (t == f) / 2 for t in true for f in false]
        margin = (max(true) - max(false)) / around if around > 0 else 0.0
        terms = {
            "AUC": share(sum(pairs) / len(pairs)),
            "best true above all false": share(max(true) > max(false)),
            "z-margin": share(max(-_WIDEST, min(_WIDEST, margin))),
        }
        return settled(Outcome(terms, {"scores": list(row)}))


def _worst() -> Outcome:
    return Outcome({"AUC": share(0), "best true above all false": share(0), "z-margin": share(-_WIDEST)})


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
