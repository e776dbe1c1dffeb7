"""Questions with options, answered by letter, with the options in every order.

Source: MVBench (Li et al. 2023, arXiv 2311.17005) asks so in one order; that models prefer positions is
told by Zheng et al. 2023, arXiv 2309.03882. An answer that chooses no option, or several, is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Steps, Told, settled, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._questions import choice, orders
from vidapt.metrics.protocols._read import LETTERS, option_of
from vidapt.nouns import Sample
from vidapt.parts import PartConfig


class Part:
    """Multiple choice by letter."""

    version = 1
    judged = False
    purpose = "multiple choice by letter, with options in every order"
    measures: tuple[Measure, ...] = (
        Measure("accuracy"),
        Measure("right in every order"),
        Measure("chose nothing", better=-1),
        Measure("chose the first", better=0),
    )

    class Config(PartConfig):
        """Options.

        Attributes:
            orders: In how many orders the options are shown; 0 is as many as there are options.
            ending: What stands behind the options.
        """

        orders: int = Field(0, ge=0, le=26)
        ending: str = "Answer with the letter of the right option."

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each question, asked in several orders."""
        found = []
        for row in rows:
            one = choice(row)
            turns = orders(self.cfg.orders, len(one.options))
            posed = tuple(_posed(one.asked(turn, self.cfg.ending), one.right_at(turn)) for turn in turns)
            truth = {
                "options": [list(one.turned(turn)) for turn in turns],
                "right": [one.right_at(turn) for turn in turns],
            }
            kind = str(row.facts.get("type", ""))
            found.append(Case(row.id, row.media[0], posed, truth, kind, columns.source(row), row.id))
        return found

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Read the letters."""
        del around
        truth = told.case.truth
        chosen = [option_of(text, shown) for text, shown in zip(told.answers, truth["options"], strict=True)]
        right = [one == wanted for one, wanted in zip(chosen, truth["right"], strict=True)]
        count = len(chosen)
        terms = {
            "accuracy": share(sum(right) / count),
            "right in every order": share(all(right)),
            "chose nothing": share(chosen.count(None) / count),
            "chose the first": share(chosen.count(0) / count),
        }
        return settled(Outcome(terms, {"chosen": [None if one is None else LETTERS[one] for one in chosen]}))


def _posed(text: str, right: int) -> Posed:
    letter = LETTERS[right]
    return Posed(text, letter, (letter, f"({letter})"))


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
