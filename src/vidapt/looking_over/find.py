"""Which rows a person wants to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, StringConstraints

from vidapt.looking_over.book import Book
from vidapt.looking_over.ledger import Ledger

_MOST_CHOICES = 200

Short = Annotated[str, StringConstraints(max_length=500)]


class Filters(BaseModel):
    """What rows are asked for; what is empty asks for nothing.

    Attributes:
        show: In dispute, kept by the checks (drawn ones for comparison), rewritten or dropped.
        check: Name of the check that changed them.
        type: Question type.
        split: Which part of the data.
        flag: What their teacher's side noted.
        differ: In what models, labels and answers differ.
        claims: What evidence says of one of their clauses.
        state: Whether a person decided them.
        text: Words that stand in their id, question, answers or reason.
        each: All rows, or of each clip the first one.
    """

    show: Literal["all", "disputed", "drawn", "keep", "rewrite", "drop"] = "all"
    check: Short = ""
    type: Short = ""
    split: Short = ""
    flag: Short = ""
    differ: Short = ""
    claims: Short = ""
    state: Literal["any", "open", "decided"] = "any"
    text: Short = ""
    each: Literal["row", "clip"] = "row"


class Finder:
    """Finds rows by what they are and what became of them."""

    def __init__(self, book: Book, ledger: Ledger) -> None:
        self._book, self._ledger = book, ledger
        self._columns = {
            "type": book.kind,
            "split": book.split,
            "flag": book.flags,
            "differ": book.differ,
            "claims": book.claims,
        }

    def facets(self) -> dict[str, dict[str, int]]:
        """What there is to choose from, with how many rows have each."""
        book, ledger = self._book, self._ledger
        checks = book.check.counts()
        for row in ledger.checks:
            checks[book.check.one(row)] -= 1
            checks[ledger.check_of(row)] += 1
        found = {"check": _most(checks)}
        found |= {name: _most(column.counts()) for name, column in self._columns.items()}
        if len(found["split"]) < 2:
            found["split"] = {}
        return found

    def rows(self, filters: Filters) -> np.ndarray:
        """Numbers of the rows, in their order."""
        mask = np.ones(len(self._book), bool)
        self._narrow_by_checks(mask, filters)
        for name, column in self._columns.items():
            wanted = getattr(filters, name)
            if wanted:
                mask &= column.having(partial(_among, wanted))
        if filters.state != "any":
            decided = np.zeros(len(mask), bool)
            decided[self._ledger.decided] = True
            mask &= decided == (filters.state == "decided")
        if words := filters.text.casefold().strip():
            mask &= self._book.holding(words)
        rows = np.flatnonzero(mask)
        return _first_of_each(rows, self._book.first_clip[rows]) if filters.each == "clip" else rows

    def _narrow_by_checks(self, mask: np.ndarray, asked: Filters) -> None:
        book, ledger = self._book, self._ledger
        if asked.show == "disputed":
            disputed = np.zeros(len(mask), bool)
            disputed[list(ledger.disputed)] = True
            mask &= disputed
        elif asked.show == "drawn":
            mask &= book.drawn
        elif asked.show != "all":
            mask &= book.verdict.having(partial(_among, asked.show))
        if asked.check:
            changed = book.check.having(partial(_among, asked.check))
            for row, check in ledger.checks.items():
                changed[row] = check == asked.check
            mask &= changed


def _among(wanted: str, names: Sequence[str]) -> bool:
    return wanted in names


def _first_of_each(rows: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Of rows of one clip the first; rows without a clip stay."""
    first = np.zeros(len(rows), bool)
    first[np.unique(clips, return_index=True)[1]] = True
    return rows[first | (clips < 0)]


def _most(counts: Mapping[str, int]) -> dict[str, int]:
    some: Sequence[tuple[str, int]] = [(name, count) for name, count in counts.items() if name and count > 0]
    return dict(sorted(some, key=lambda one: (-one[1], one[0]))[:_MOST_CHOICES])
