"""A short true statement against a long one with an error: a model that likes length falls for it.

Source: the length trap of HiLight (Wang et al. 2024, arXiv 2407.07325). Only pairs count whose false
statement has more words than the true one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidapt.errors import ConfigError
from vidapt.metrics.cases import Case, Measure, Outcome, Steps, Told, settled, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._statements import compared, statements
from vidapt.metrics.text import words
from vidapt.nouns import Sample
from vidapt.parts import PartConfig


class Part:
    """Short and true against long with an error."""

    version = 1
    judged = False
    purpose = "whether short true statements beat long ones with an error"
    measures: tuple[Measure, ...] = (Measure("short and true wins"), Measure("wins every pair"))

    class Config(PartConfig):
        """No options."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each row that has a false statement longer than a true one."""
        found = []
        for row in rows:
            true, false = statements(row)
            shortest = min(len(words(text)) for text in true)
            long = tuple(text for text in false if len(words(text)) > shortest)
            if long:
                found.append(compared(row, true, long))
        if rows and not found:
            raise ConfigError(
                columns.where(rows[0]),
                "and no other row has a false statement that is longer than a true one",
                'write it as "true": ["a ball falls"], "false": ["the cue ball rolls on and no ball falls"]',
            )
        return found

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Compare the scores of pairs; a tie is lost."""
        del around
        count, options = int(told.case.truth["true"]), told.case.posed[0].options
        row = told.scores[0] if told.scores else ()
        if len(row) != len(options):
            return settled(Outcome({"short and true wins": share(0), "wins every pair": share(0)}))
        pairs = [
            row[t] > row[f]
            for t in range(count)
            for f in range(count, len(options))
            if len(words(options[f])) > len(words(options[t]))
        ]
        terms = {"short and true wins": share(sum(pairs) / len(pairs)), "wins every pair": share(all(pairs))}
        return settled(Outcome(terms, {"scores": list(row)}))


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
