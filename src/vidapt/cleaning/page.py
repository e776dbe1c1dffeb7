"""What was kept, rewritten and set aside, as a page: counts, and examples of every check with a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from vidapt.cleaning.cost import HEAD
from vidapt.cleaning.decisions import Agreement
from vidapt.cleaning.job import Cleaned
from vidapt.cleaning.labels import Fate
from vidapt.measure.footage import thumbnail
from vidapt.measure.sections import Figure, PlainTable, Section, write_sections
from vidapt.nouns import Sample

_EXAMPLES = 12
"""Of a check."""

_PICTURES = 4
"""Of a check; each is decoded."""

_LONGEST = 400
"""Letters of a text that is shown."""


def write_page(path: Path, cleaned: Cleaned) -> None:
    """Write the page: one file, which needs no network.

    Args:
        path: Replaced if it exists.
        cleaned: What a job did.

    Raises:
        VidaptError: If it cannot be written.
    """
    found = cleaned.summary
    rows = [
        [name, *map(str, (t.version, t.judged, t.dropped, t.rewritten))] for name, t in found.checks.items()
    ]
    head = ["check", "version", "labels judged", "rows set aside", "rows rewritten"]
    sections = [Section("Checks", tables=[PlainTable("what each check did", head, rows)])]
    if found.costs:
        costs = PlainTable("by who made the labels", HEAD, [cost.row() for cost in found.costs])
        lede = "All that was spent, on whatever clip, over the clips of which a label is kept."
        sections.append(Section("What a kept clip costs", lede, tables=[costs]))
    if found.agreement is not None:
        sections.append(_agreement(found.agreement))
    sections += [
        _check(name, [fate for fate in cleaned.fates if fate.check == name])
        for name in found.checks
        if any(fate.check == name for fate in cleaned.fates)
    ]
    write_sections(
        path,
        "Labels, cleaned",
        f"{found.kept} of {found.rows} rows are kept, {found.rewritten} of them rewritten.",
        sections,
        notes=(
            "A row is told under the first check that set it aside; others may have done so too.",
            "Set aside is not always wrong: near duplicates and guessed answers are capped.",
            f"All of it, with reasons, stands in {found.rejected}; nothing is deleted.",
        ),
        facts=(
            ("settings", found.settings),
            ("labels", found.inputs),
            ("rows that are no labels", str(found.unsound)),
            ("rows to ask a teacher for again", str(found.again)),
            ("rounds", str(found.rounds)),
            ("model without clips", found.blind or "none"),
        ),
    )


def _agreement(found: Agreement) -> Section:
    table = found.table
    kappa = "has no value" if found.kappa is None else f"is {found.kappa:.2f}"
    rows = [
        ["kept by the person", str(table["keep/keep"]), str(table["keep/not"])],
        ["not kept by the person", str(table["not/keep"]), str(table["not/not"])],
    ]
    checks = [[name, str(n), str(right)] for name, (n, right) in found.checks.items()]
    tables = [PlainTable("rows that a person decided", ["", "kept by checks", "not kept by checks"], rows)]
    if checks:
        head = ["check", "decided rows it would change", "of these not kept by the person"]
        tables.append(PlainTable("check by check", head, checks))
    lede = f"Cohen's kappa of person and checks {kappa}, over {found.decided} rows."
    return Section("Person and checks", lede, tables=tables)


def _check(name: str, fates: Sequence[Fate]) -> Section:
    shown = fates[:_EXAMPLES]
    figures = [figure for fate in shown[:_PICTURES] if (figure := _figure(fate)) is not None]
    rows = [[fate.sample.id, fate.verdict.reason, _said(fate.sample), _now(fate)] for fate in shown]
    table = PlainTable(f"examples of {name}", ["row", "reason", "what it said", "what became of it"], rows)
    return Section(name, f"{len(fates)} rows, of which {len(shown)} are shown.", figures, [table])


def _figure(fate: Fate) -> Figure | None:
    picture = thumbnail(fate.sample.media[0]) if fate.sample.media else ""
    if not picture:
        return None
    return Figure(Markup('<img src="{}" alt="">').format(picture), f"{fate.sample.id}: {fate.verdict.reason}")


def _said(sample: Sample) -> str:
    said = [turn.text for turn in sample.turns if turn.role == "assistant"]
    return _short(" / ".join((*said, *sample.references)))


def _now(fate: Fate) -> str:
    return "set aside" if fate.now is None else _said(fate.now)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1].rstrip()}…"
