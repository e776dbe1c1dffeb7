"""Rows as they stand on the page, frozen as a version that recipes can name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vidapt.curation.versions import Version, freeze, parent
from vidapt.decisions import Decision, about, decided, fitting, read_decisions
from vidapt.looking_over.book import Book, open_book
from vidapt.looking_over.entries import Item
from vidapt.looking_over.gather import Sources
from vidapt.nouns import Sample
from vidapt.progress import Reporter, silent

Deciding = Callable[[int, Item], Decision | None]
"""What holds for a row, by its number; None where nobody decided it."""


@dataclass(frozen=True)
class Freezer:
    """Freezes what a book holds.

    Attributes:
        sources: What the book was made of.
        book: The rows.
        decisions: Where decisions stand; None where there are none.
    """

    sources: Sources
    book: Book
    decisions: Path | None

    def freeze(self, out: Path, holds: Deciding, report: Reporter = silent) -> Version:
        """Write the rows as they stand: as a person decided, and where nobody did, as checks had it.

        Raises:
            ConfigError: If something else is there already, or no row is left.
        """
        counts: Counter[str] = Counter()
        rows = list(self._standing(holds, counts))
        named = [*self.sources.files, *([self.decisions] if self.decisions else [])]
        named += [self.sources.rejected] if self.sources.rejected is not None else []
        return freeze(rows, out, parents=map(parent, named), counts=counts, report=report)

    def _standing(self, holds: Deciding, counts: Counter[str]) -> Iterator[Sample]:
        for row, item in enumerate(self.book.items):
            decision = holds(row, item)
            if decision is not None:
                now, by = decided(item.sample, decision), "person"
            else:
                now, by = item.sample if item.verdict == "keep" else item.now, "checks"
            outcome = "dropped" if now is None else "kept" if now is item.sample else "rewritten"
            counts[outcome if outcome == "kept" else f"{outcome} by {by}"] += 1
            if now is not None:
                yield now


def freeze_labels(
    sources: Sources, out: Path, decisions: Path | None = None, report: Reporter = silent
) -> Version:
    """Freeze label files without a page.

    Args:
        sources: The labels, and what checks set aside of them.
        out: The new folder.
        decisions: What a person decided.
        report: Shows progress.

    Raises:
        FormatError: If a file is not there, or holds something else than it should.
        ConfigError: If decisions are about other labels, or something else is there already.
    """
    found = {} if decisions is None else read_decisions(decisions)
    book = open_book(sources, report)
    if decisions is not None:
        fitting(decisions, found, ((key, now) for _, key, now in book.find(found)))

    def holds(row: int, item: Item) -> Decision | None:
        del row
        decision = found.get(item.sample.id)
        return decision if decision is not None and decision.of in ("", about(item.sample)) else None

    return Freezer(sources, book, decisions).freeze(out, holds, report)
