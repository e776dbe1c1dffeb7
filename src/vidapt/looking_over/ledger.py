"""Decisions as they are made: each on the disk before it counts, in the form that `vidapt clean` reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from pydantic import ValidationError

from vidapt.appended import Appended
from vidapt.cleaning.decisions import PERSON, fate
from vidapt.decisions import Decision, about, fitting, read_decisions
from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.files import check_file, exists
from vidapt.formats.vidapt_jsonl import refuse_unwritable
from vidapt.looking_over.book import Book
from vidapt.looking_over.entries import Item
from vidapt.looking_over.index import LOW
from vidapt.metrics.kappa import cohen_kappa


class OvertakenError(Exception):
    """Somebody else decided the row after it was last looked at."""


@dataclass(frozen=True, slots=True)
class Change:
    """A decision about a row.

    Attributes:
        row: Its number.
        decision: What was decided.
        count: How many decisions there were with it; it names this one.
    """

    row: int
    decision: Decision
    count: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is.

    Attributes:
        count: Decisions, those that were taken back or replaced among them.
        decided: Rows that a person decided.
        settled: Disputed rows among them.
        disputed: Rows in dispute.
        kappa: Cohen's, of person and checks about "kept as it came"; None where it has no value.
    """

    count: int
    decided: int
    settled: int
    disputed: int
    kappa: float | None


class Ledger:
    """The file of decisions, which one process holds and any number of browsers add to.

    What is written into it by other hands while it is open counts, too (`refresh`).

    Args:
        path: Made with the first decision; what is there already counts.
        book: The rows.
        by: Who decides.

    Raises:
        ConfigError: If it holds something else than decisions, or those about other labels.
        TakenError: If another process has it.
    """

    def __init__(self, path: Path, book: Book, by: str = "") -> None:
        self.path, self._book, self._by = path, book, by
        self._lock = Lock()
        self._changes: list[Change] = []
        self._now: dict[int, Change] = {}
        self.checks: dict[int, str] = {}
        self.strangers = 0
        check_file(path)
        if exists(path):
            self._take_up()
        flagged = book.flags.having(lambda names: bool(set(names) - {LOW}))
        disputed = flagged | book.check.having(bool)
        for row, check in self.checks.items():
            disputed[row] = check or flagged[row]
        self.disputed = frozenset(np.flatnonzero(disputed).tolist())
        self._checked = any(map(self.check_of, self.disputed))
        self._file = Appended(path)
        self._seen = self._stamp()

    def _take_up(self) -> None:
        """Count what is in the file, which stays as it is."""
        _end_line(self.path)
        there = read_decisions(self.path, cut_off=True)
        rows = {key: (row, now) for row, key, now in self._book.find(there)}
        fit = fitting(self.path, there, ((key, now) for key, (_, now) in rows.items()))
        wanted = {rows[key][0]: decision for key, decision in fit.items()}
        for row in sorted(self._now.keys() | wanted.keys()):
            decision, held = wanted.get(row), self.of(row)
            if decision is None:
                if held is not None:
                    undone = {"verdict": "undecided", "text": "", "reason": ""}
                    self._note(row, held.decision.model_copy(update=undone))
            elif held is None or held.decision != decision:
                self._note(row, decision)
                if decision.of and self._book.check.one(row) in ("", PERSON):  # cleaned since, as was decided
                    self.checks[row] = decision.check
        self.strangers = len(there) - len(fit)

    def refresh(self) -> None:
        """Take in what others wrote into the file since, in place or as a new one of its name.

        Called whenever anybody asks.

        Raises:
            ConfigError: If it holds something else by now, or decisions about other labels.
        """
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        now = self._stamp()
        if now is None or now == self._seen:
            return
        self._take_up()
        self._reopen()

    def _reopen(self) -> None:
        """Open the file anew, which cuts off half a line, that the next one would run into."""
        self._file.close()
        self._file = Appended(self.path)
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """Let others have the file; where nothing was decided, none is left."""
        self._file.close()

    def check_of(self, row: int) -> str:
        """Which check changed a row, as far as is known."""
        return self.checks.get(row, self._book.check.one(row))

    def of(self, row: int) -> Change | None:
        """What holds for a row; None where it is undecided."""
        change = self._now.get(row)
        return None if change is None or change.decision.verdict == "undecided" else change

    def decision(self, row: int) -> Decision | None:
        """What a person decided of a row; None where nobody did."""
        change = self.of(row)
        return None if change is None else change.decision

    @property
    def decided(self) -> list[int]:
        """Rows for which something holds."""
        return [row for row in list(self._now) if self.of(row) is not None]

    def after(self, count: int) -> list[Change]:
        """Decisions behind the first `count` ones."""
        return self._changes[max(0, count) :]

    def decide(self, row: int, verdict: str, text: str, reason: str, seen: int) -> Change:
        """Write a decision down.

        Args:
            row: Number of the row.
            verdict: As in `Decision`.
            text: Of a rewrite.
            reason: In the person's words.
            seen: Which decision about the row was last seen, by its count; 0 for none.

        Raises:
            OvertakenError: If another one holds by now; nothing is written.
            ConfigError: If it is no decision, or its text is none that a label file can hold.
            VidaptError: If the disk is full.
        """
        item: Item = self._book.items[row]
        if verdict == "rewrite" and not item.sample.answer:
            raise ConfigError("decision", "there is no label to edit", "label the clip first")
        named = {"of": about(item.sample), "check": self.check_of(row), "reason": reason, "by": self._by}
        try:
            decision = Decision.model_validate(
                {"id": item.sample.id, "verdict": verdict, "text": text, **named}
            )
            if verdict == "rewrite" and (became := fate(item.sample, decision)) and became.now:
                refuse_unwritable(became.now)
        except ValidationError as error:
            raise ConfigError("decision", error.errors(include_url=False)[0]["msg"]) from None
        except FormatError as error:
            raise ConfigError("decision", error.found, error.remedy) from None
        with self._lock:
            self._refresh()
            holds = self.of(row)
            if seen != (holds.count if holds else 0):
                raise OvertakenError
            self._write(decision)
            return self._note(row, decision)

    def _write(self, decision: Decision) -> None:
        if not self._file.there:
            told = "was deleted or replaced while the page was up: the decision is not written down"
            raise ConfigError(self.path, told, "put it back, or end the page and start it again")
        try:
            self._file.write(decision.model_dump(exclude_defaults=True))
            self._file.sync()
            self._seen = self._stamp()
        except VidaptError:
            self._reopen()
            raise

    def progress(self) -> Progress:
        """How far the work is."""
        with self._lock:
            decided = {row: one for row in self.decided if (one := self.of(row)) is not None}
        pairs = [
            (one.decision.verdict == "keep", not check)
            for row, one in decided.items()
            if (check := self.check_of(row)) != PERSON
        ]
        kappa = cohen_kappa(pairs) if self._checked else None
        settled = len(self.disputed & decided.keys())
        kappa = None if kappa is None else round(kappa, 4)
        return Progress(len(self._changes), len(decided), settled, len(self.disputed), kappa)

    def _note(self, row: int, decision: Decision) -> Change:
        change = Change(row, decision, len(self._changes) + 1)
        self._changes.append(change)
        self._now[row] = change
        return change


def _end_line(path: Path) -> None:
    """End a last line that a person left without an end: such a one counts as cut off by a kill."""
    try:
        with path.open("rb+") as file:
            last = file.read().rpartition(b"\n")[2]
            if last.strip():
                Decision.model_validate(json.loads(last))
                file.write(b"\n")
    except (ValueError, OSError):  # no decision: it is told by whoever reads the file
        return
