"""The report: one HTML file with everything in it, which needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidapt.errors import ConfigError
from vidapt.measure.charts import ruler, sign
from vidapt.measure.compare import compare
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.layout import write_page
from vidapt.measure.page import Numbers
from vidapt.measure.provenance import SIMULATOR_NOTE, curves, facts, trained_on_a_simulator
from vidapt.measure.stories import stories

TEMPLATE = "report.html.j2"
CLIPS = 6


@dataclass(frozen=True, slots=True)
class Section:
    """A table of texts to be told beside the numbers: its heading, names of columns, and rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(
    path: Path,
    evaluations: Mapping[str, Evaluation],
    *,
    title: str | None = None,
    clips: int | Sequence[str] = CLIPS,
    run: Path | None = None,
    notes: Sequence[str] = (),
    sections: Sequence[Section] = (),
    commands: Sequence[str] = (),
    lead: Sequence[Section] = (),
    verdict: str | None = None,
) -> None:
    """Write `report.html`.

    Args:
        path: The file; replaced if it exists.
        evaluations: By label, of the same questions; with several, the first is what was before and the last
            what came after, and the controls shown are those of the last.
        title: Heading of the page.
        clips: Ids of the clips to show, or how many.
        run: Folder of the training run that led to the last model; its curves are drawn.
        notes: What else a reader must know.
        sections: Tables of texts beside the numbers.
        commands: What was typed to get here.
        lead: Tables that come before all others.
        verdict: The outcome in a sentence; None takes that of the evaluations.

    Raises:
        ConfigError: If there is no evaluation, the evaluations are of different questions, or a clip was not
            evaluated.
        VidaptError: If the file cannot be written.
    """
    if not evaluations:
        raise ConfigError(path, "a report needs an evaluation", "evaluate a model first")
    first, *_, last = (list(evaluations.values()) * 2)[: max(2, len(evaluations))]
    numbers = Numbers(evaluations, compare(first, last) if len(evaluations) > 1 else None)
    simulated = run is not None and trained_on_a_simulator(run)
    write_page(
        path,
        TEMPLATE,
        title=title or ("Before and after" if len(evaluations) > 1 else "What the model sees"),
        verdict=numbers.verdict() if verdict is None else verdict,
        lead=lead,
        tiles=numbers.tiles(),
        last=last,
        labels=list(evaluations),
        numbers=numbers,
        stories=stories(evaluations, clips),
        curves=curves(run) if run is not None else [],
        facts=facts(evaluations, run),
        notes=[*last.notes, *([SIMULATOR_NOTE] if simulated else []), *notes],
        sections=sections,
        broken=last.broken,
        commands=commands,
        ruler=ruler,
        sign=sign,
    )
