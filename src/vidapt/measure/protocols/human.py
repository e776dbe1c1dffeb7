"""A person's check of some verdicts: a table to fill in, and what it says of the judge and of the numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.digests import seed_of
from vidapt.errors import ConfigError, FormatError, readable
from vidapt.files import write_text
from vidapt.measure.protocols.kept import Judged
from vidapt.metrics.cases import Told
from vidapt.metrics.corrected import corrected
from vidapt.metrics.intervals import Interval
from vidapt.metrics.kappa import cohen_kappa
from vidapt.metrics.protocols._read import yes_or_no

COLUMNS = ("key", "protocol", "question", "reference", "answer", "human")
MEASURE = "accuracy"
"""Measure of protocols whose judge says yes or no, which a person can say, too."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Checkable:
    """A verdict that a person may check.

    Attributes:
        key: Names protocol, model and case, and tells nothing of them.
        protocol: Its name.
        model: Whose answer it is.
        told: The case.
        judged: The verdict.
    """

    key: str
    protocol: str
    model: str
    told: Told
    judged: Judged

    @property
    def said(self) -> float | None:
        """1 for yes, 0 for no; None without a verdict."""
        pair = self.judged.terms.get(MEASURE)
        return None if pair is None else pair[0]

    @property
    def guess(self) -> float:
        """The same, and without a verdict something between: a person's check mends any guess."""
        return 0.5 if self.said is None else self.said


def checkable(protocol: str, model: str, told: Sequence[Told], judged: Sequence[Judged]) -> list[Checkable]:
    """Verdicts of a model that a person may check."""
    found = []
    for one, verdict in zip(told, judged, strict=True):
        key = f"{seed_of('check', protocol, model, one.case.id):016x}"
        found.append(Checkable(key, protocol, model, one, verdict))
    return found


def write_check(path: Path, found: Sequence[Checkable], count: int) -> int:
    """Write a table for a person: what was asked, a reference and an answer, but neither model nor verdict.

    Which cases stand in it follows from their keys, which are as good as drawn; each model has as many.

    Args:
        path: A CSV file, which must not exist: it may have been filled in.
        found: What may be checked.
        count: How many cases, all models and protocols together.

    Returns:
        How many were written.
    """
    groups: dict[tuple[str, str], list[Checkable]] = {}
    for one in sorted(found, key=lambda one: one.key):
        if not one.told.silent:
            groups.setdefault((one.protocol, one.model), []).append(one)
    each = max(1, count // max(1, len(groups)))
    chosen = sorted((one for members in groups.values() for one in members[:each]), key=lambda one: one.key)
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(COLUMNS)
    for one in chosen:
        case = one.told.case
        cells = (case.posed[0].text, case.posed[0].reference, one.told.answer)
        table.writerow([one.key, one.protocol, *map(_cell, cells), ""])
    write_text(path, file.getvalue())
    return len(chosen)


def read_check(path: Path) -> dict[str, bool]:
    """What a person said, by key; rows that are not filled in are passed over.

    Raises:
        FormatError: If a row says neither yes nor no, or the table is none of ours.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError(path, "is no UTF-8", "save it as CSV in UTF-8") from None
    delimiter = ";" if text.split("\n", 1)[0].count(";") > text.split("\n", 1)[0].count(",") else ","
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    if not {"key", "human"} <= set(rows.fieldnames or ()):
        raise FormatError(path, "has no columns `key` and `human`", "keep the first line of the table")
    found = {}
    for number, row in enumerate(rows, 2):
        said = (row["human"] or "").strip()
        if not said:
            continue
        value = {"1": True, "0": False, "y": True, "n": False}.get(said.lower(), yes_or_no(said))
        if value is None:
            raise FormatError(f"{path}:{number}", f"`human` is {said!r}", "write yes or no")
        found[str(row["key"])] = value
    return found


def checked(path: Path, found: Sequence[Checkable]) -> dict[str, dict[str, Any]]:
    """By protocol and model, how far person and judge agree, and what follows for the number.

    Raises:
        ConfigError: If nothing in the table is about these verdicts.
    """
    person = read_check(path)
    about = {one.key for one in found}
    if not about & person.keys():
        raise ConfigError(path, "is about other answers", "give the table that was made of these")
    told: dict[str, dict[str, Any]] = {}
    for protocol, model, members in _groups(found):
        seen = [one for one in members if one.key in person and not one.told.silent]
        pairs = [(person[one.key], one.said == 1.0) for one in seen if one.said is not None]
        if not pairs:
            continue
        spoken = [one for one in members if not one.told.silent]
        estimate = estimated(spoken, {one.key: float(person[one.key]) for one in seen})
        # Who says nothing is not right, which nobody has to check.
        part = len(spoken) / len(members)
        told.setdefault(protocol, {})[model] = {
            "checked": len(seen),
            "agreement": sum(said == judge for said, judge in pairs) / len(pairs),
            "kappa": cohen_kappa(pairs),
            "corrected": None
            if estimate is None
            else {
                "value": part * estimate.value,
                "low": max(0.0, part * estimate.low),
                "high": min(1.0, part * estimate.high),
            },
        }
    return told


def estimated(about: Sequence[Checkable], person: Mapping[str, float]) -> Interval | None:
    """The share that a person would have said yes to, by verdicts on all and what was said of some.

    Args:
        about: Answers of one model, those without a verdict among them.
        person: By key, what the person said.
    """
    sources = {one.key: one.told.case.source for one in about}
    return corrected({one.key: one.guess for one in about}, person, sources)


def table(told: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Rows: model, checked, agreement, kappa, corrected number."""
    for model, one in told.items():
        kappa = "-" if one["kappa"] is None else f"{one['kappa']:.2f}"
        yield [
            model,
            str(one["checked"]),
            f"{100 * one['agreement']:.1f} %",
            kappa,
            _estimate(one["corrected"]),
        ]


def _estimate(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "-"
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


HEAD = ("model", "checked", "agreement", "Cohen's κ", f"{MEASURE}, corrected")


def _groups(found: Sequence[Checkable]) -> Iterator[tuple[str, str, list[Checkable]]]:
    groups: dict[tuple[str, str], list[Checkable]] = {}
    for one in found:
        groups.setdefault((one.protocol, one.model), []).append(one)
    for (protocol, model), members in groups.items():
        yield protocol, model, members


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula, and no terminal for an order."""
    shown = readable(text, lines=True)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
