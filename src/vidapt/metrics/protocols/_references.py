"""Rows whose answer is a text that is held against references."""

from __future__ import annotations

from vidapt.metrics.cases import Case, Posed
from vidapt.metrics.protocols import _columns as columns
from vidapt.nouns import Sample


def referred(row: Sample, prompt: str | None = None, kind: str = "") -> Case:
    """A case with the row's answer, and all further ones, as references.

    Args:
        row: Of a test.
        prompt: What models are asked; None asks the row's own question.
        kind: Of the case.

    Raises:
        ConfigError: If the row has no question or no answer.
    """
    answer = columns.answered(row)
    posed = Posed(prompt or columns.asked(row), answer, free=True)
    truth = {"reference": [answer, *row.references]}
    return Case(row.id, row.media[0], (posed,), truth, kind, columns.source(row), row.id)
