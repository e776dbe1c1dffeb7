"""True and false statements about a clip, in rows of a test."""

from __future__ import annotations

from vidapt.metrics.cases import Case, Posed
from vidapt.metrics.protocols import _columns as columns
from vidapt.nouns import Sample

TRUE, FALSE = ("true", "gt", "positives"), ("false", "negatives", "hard_negatives")
_TRUE_EXAMPLE, _FALSE_EXAMPLE = '"true": ["the red ball falls"]', '"false": ["the blue ball falls"]'


def statements(row: Sample) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A row's true and its false statements; its answer is true where nothing else is said to be.

    Raises:
        ConfigError: If it has no false ones, or no true ones.
    """
    given = columns.found(row, TRUE)
    true = (row.answer,) if given is None and row.answer.strip() else None
    value = columns.need(row, TRUE, _TRUE_EXAMPLE) if true is None else list(true)
    first = columns.listed(row, TRUE, [value] if isinstance(value, str) else value, _TRUE_EXAMPLE)
    wrong = columns.need(row, FALSE, _FALSE_EXAMPLE)
    return first, columns.listed(row, FALSE, [wrong] if isinstance(wrong, str) else wrong, _FALSE_EXAMPLE)


def compared(row: Sample, true: tuple[str, ...], false: tuple[str, ...]) -> Case:
    """A case whose statements are scored: first the true ones, then the false ones."""
    kind = str(row.facts.get("type", ""))
    posed = Posed("", options=(*true, *false), by="statement")
    return Case(
        row.id, row.media[0], (posed,), {"true": len(true)}, kind, source=columns.source(row), row=row.id
    )
