"""Questions with options, answered by the likelihood that a model gives to each, with options in every order.

Source: scoring options instead of reading letters, as the evaluation harness of EleutherAI does (Gao et al.
2021, doi 10.5281/zenodo.5371628). Nothing has to be read from words, so that a model is not measured by its
manners.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Steps, Told, settled, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._questions import choice, orders
from vidapt.metrics.protocols._read import LETTERS
from vidapt.nouns import Sample
from vidapt.parts import PartConfig


class Part:
    """Multiple choice by likelihood."""

    version = 1
    judged = False
    purpose = "multiple choice by the likelihood of each option, with options in every order"
    measures: tuple[Measure, ...] = (
        Measure("accuracy"),
        Measure("right over all orders"),
        Measure("chose the first", better=0),
    )

    class Config(PartConfig):
        """Options.

        Attributes:
            by: Whether an option's `letter` is scored or its `words`, by the mean of their tokens.
            orders: In how many orders the options are shown; 0 is as many as there are options.
            ending: What stands behind the options.
        """

        by: Literal["letter", "words"] = "letter"
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
            letters = tuple(LETTERS[: len(one.options)])
            posed = tuple(
                Posed(
                    one.asked(turn, self.cfg.ending),
                    options=letters if self.cfg.by == "letter" else one.turned(turn),
                )
                for turn in turns
            )
            truth = {
                "count": len(one.options),
                "turns": list(turns),
                "right": one.right,
            }
            kind = str(row.facts.get("type", ""))
            found.append(Case(row.id, row.media[0], posed, truth, kind, columns.source(row), row.id))
        return found

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Compare likelihoods; a tie chooses nothing."""
        del around
        truth = told.case.truth
        count, right = int(truth["count"]), int(truth["right"])
        if not told.scores or any(len(row) != count for row in told.scores):
            return settled(Outcome({"accuracy": share(0), "right over all orders": share(0)}))
        chosen = [_best(row) for row in told.scores]
        hits = [
            one is not None and (one + turn) % count == right
            for one, turn in zip(chosen, truth["turns"], strict=True)
        ]
        # Of each option as the row lists it, over all places in which it stood.
        total = [0.0] * count
        for row, turn in zip(told.scores, truth["turns"], strict=True):
            for place, score in enumerate(row):
                total[(place + turn) % count] += score
        terms = {
            "accuracy": share(sum(hits) / len(hits)),
            "right over all orders": share(_best(total) == right),
            "chose the first": share(chosen.count(0) / len(chosen)),
        }
        return settled(Outcome(terms, {"chosen": chosen}))


def _best(scores: Sequence[float]) -> int | None:
    """Index of the highest; None if two are equal."""
    best = max(scores)
    places = [place for place, score in enumerate(scores) if score == best]
    return places[0] if len(places) == 1 else None


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
