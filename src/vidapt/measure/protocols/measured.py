"""What protocols found, for programs, terminals and people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.files import write_json
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.paired import HEAD, paired
from vidapt.measure.protocols.results import Found
from vidapt.measure.report import Section, write_report
from vidapt.measure.sections import PlainTable, write_sections
from vidapt.measure.sections import Section as PlainSection
from vidapt.measure.verdicts import METRICS

_IN_VERDICT = 3
"""Protocols that the first sentence of a report tells of."""


@dataclass(frozen=True)
class Measured:
    """What protocols found.

    Attributes:
        evaluations: By model; empty where protocols ask no question.
        found: By protocol.
        judge: What is known of the judge; empty where none was needed.
        to_check: How many answers a person is now asked about.
    """

    evaluations: Mapping[str, Evaluation]
    found: Mapping[str, Found]
    judge: Mapping[str, Any]
    to_check: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told: dict[str, Any] = {}
        if len(self.evaluations) > 1:
            told["models"] = {name: one.to_dict() for name, one in self.evaluations.items()}
            told["differences"] = [one.to_dict() for one in paired(self.evaluations)]
        elif self.evaluations:
            told = next(iter(self.evaluations.values())).to_dict()
        found = {kind: one.to_dict() for kind, one in self.found.items()}
        return {**told, "protocols": found, "judge": dict(self.judge) or None}

    def tables(self) -> list[tuple[Sequence[str], list[list[str]]]]:
        """What a terminal shows."""
        tables: list[tuple[Sequence[str], list[list[str]]]] = []
        for one in self.found.values():
            tables.append((("protocol", "measure", "n", *one.models), one.rows()))
            sections = [section for section in one.sections() if section.columns[0] == "model"]
            tables += [(section.columns, [list(row) for row in section.rows]) for section in sections]
        return tables

    def remarks(self) -> Iterator[str]:
        """What goes with the tables."""
        for one in self.found.values():
            if one.drift:
                yield f"{one.kind}: {one.drift}"
        if self.judge:
            yield judge_line(self.judge)


def judge_line(judge: Mapping[str, Any]) -> str:
    """What is known of a judge, in words."""
    line = f"{judge['model']}{' ' + judge['revision'] if judge['revision'] else ''}, id {judge['id']}: "
    line += (
        f"{judge['given']} verdicts now, {judge['kept']} from before, {judge['retried']} questions put again"
    )
    if judge["missing"]:
        line += f"; no verdict could be read on {judge['missing']} of them, which are in no number"
    if "calls" in judge:
        money = "cost unknown" if judge["money"] is None else f"{judge['money']:.4g} {judge['currency']}"
        line += f"; {judge['calls']} replies in all, {judge['tokens']:,} tokens, {money}"
    return line


def write_measured(measured: Measured, out: Path, last: str | Path) -> None:
    """Write the numbers and the report.

    Args:
        measured: What was found.
        out: Folder of both.
        last: The last model, whose training the report tells of.
    """
    write_json(out / METRICS, measured.to_dict())
    lead = [section for one in measured.found.values() for section in one.sections()]
    notes = [note for one in measured.found.values() for note in one.notes()]
    if measured.judge:
        notes.append(f"Judge: {judge_line(measured.judge)}.")
    told = "; ".join(one.verdict() for one in list(measured.found.values())[:_IN_VERDICT])
    verdict = f"{told[:1].upper()}{told[1:]}."
    path = out / "report.html"
    if not measured.evaluations:
        plain = [PlainSection(one.title, tables=[PlainTable("", one.columns, one.rows)]) for one in lead]
        models = next(iter(measured.found.values())).models
        write_sections(path, " · ".join(models), verdict, plain, notes=notes)
        return
    sections = []
    if len(measured.evaluations) > 1:
        rows = [one.row() for one in paired(measured.evaluations)]
        first = next(iter(measured.evaluations))
        sections.append(Section(f"Beside {first}, by plain comparison", HEAD, rows))
    run = Path(last) if (Path(last) / "run.json").is_file() else None
    write_report(
        path,
        measured.evaluations,
        title=" · ".join(measured.evaluations),
        run=run,
        sections=sections,
        notes=notes,
        lead=lead,
        verdict=verdict,
    )
