"""What an adaptation leaves: captions of some clips, a report, and the commands that go on from there."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.adapting.bench import before_and_after
from vidapt.adapting.decisions import Decision
from vidapt.adapting.facts import Facts
from vidapt.adapting.job import Places, Request
from vidapt.captioning.rows import CaptionRow
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.report import Section, write_report


@dataclass(frozen=True)
class Adapted:
    """What came out.

    Attributes:
        model: Folder of the adapted model.
        report: The page to look at.
        recipe: What was trained.
        captions: Captions of some clips.
        before: What the base answers.
        after: What the adapted model answers.
        general: The same of what was to be kept, before and after, if it was named.
        next: Commands that go on from here.
    """

    model: Path
    report: Path
    recipe: Path
    captions: Path
    before: Evaluation
    after: Evaluation
    general: tuple[Evaluation, Evaluation] | None
    next: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        paths = {name: str(getattr(self, name)) for name in ("model", "report", "recipe", "captions")}
        measured: dict[str, Any] = {"before": self.before.to_dict(), "after": self.after.to_dict()}
        if self.general is not None:
            names = ("before", "after")
            measured["general"] = {name: one.to_dict() for name, one in zip(names, self.general, strict=True)}
        return {**paths, **measured, "next": list(self.next)}

    def rows(self) -> list[list[str]]:
        """A table: measure, before, after, and the controls of the adapted model."""
        return before_and_after(self.before, self.after)

    def kept_rows(self) -> list[list[str]]:
        """A table of what was to be kept: measure, before, after; empty if nothing was named."""
        return [] if self.general is None else [row[:3] for row in before_and_after(*self.general)]


def commands(request: Request, model: Path, facts: Facts, clip: Path) -> list[str]:
    """What is typed next: caption everything, ask, hand on."""
    prompt = facts.caption or facts.question
    words = (
        [
            "vidapt",
            "caption",
            str(request.clips),
            "--model",
            str(model),
            "--prompt",
            prompt,
            "--out",
            "captions.parquet",
        ],
        ["vidapt", "ask", str(clip), facts.question, "--model", str(model)],
        ["vidapt", "export", str(model), "--to", "merged", "--out", request.name],
    )
    return [shlex.join(one) for one in words]


def write_result_page(
    places: Places,
    request: Request,
    adapted: Adapted,
    *,
    run: Path,
    decisions: Iterable[Decision],
    captions: Sequence[CaptionRow],
    typed: Sequence[str],
) -> None:
    """Write the report: before and after with controls, captions, and all that was decided."""
    decided = Section(
        "What was decided, and why",
        ("about", "decision", "reason"),
        [(one.about, one.what, one.why) for one in decisions],
    )
    told = Section(
        "Captions of some clips",
        ("clip", "caption"),
        [(Path(row.clip).name, row.caption) for row in captions],
    )
    kept = Section("What it was to keep: the general set", ("", "before", "after"), adapted.kept_rows())
    sections = [section for section in (kept, told, decided) if section.rows]
    write_report(
        places.report,
        {"before": adapted.before, "after": adapted.after},
        title=f"{request.name}: before and after",
        run=run,
        sections=sections,
        commands=typed,
    )
