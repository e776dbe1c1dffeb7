"""The page of an ablation."""

from __future__ import annotations

from pathlib import Path

from vidapt.measure.ablate.result import HEAD, STAGES, Ablation
from vidapt.measure.charts import Point, scale
from vidapt.measure.sections import Figure, PlainTable, Section, write_sections

NOTES = (
    "Gains are paired: the same questions, seed by seed. Intervals are 95 % bootstrap intervals over clips; "
    "answers of all seeds about a clip are drawn together. They tell how far other clips would change the "
    "numbers; how far other seeds would, the column of seeds tells.",
    "A stage earned its cost where leaving it out loses measurably. What it takes is the time in steps of "
    "the whole recipe less that of the recipe without it, on this machine.",
    "A stage's worth at a small budget need not be its worth at the whole one.",
)


def write_ablation(path: Path, found: Ablation) -> None:
    """Write the page.

    Raises:
        VidaptError: If the file cannot be written.
    """
    figures = [
        Figure(
            scale([Point("last", arm.label, arm.score.value, arm.score.low, arm.score.high)]),
            arm.label,
        )
        for arm in found.arms
    ]
    caption = f"Score ({found.kind}) of every arm, all seeds together."
    sections = [
        Section("Arms", "", figures, [PlainTable(caption, HEAD, found.rows(), (found.arms[0].label,))])
    ]
    if found.stages:
        table = PlainTable("The most gain for its time first.", STAGES, found.stage_rows())
        sections.insert(0, Section("Which stage earned its cost", "", (), [table]))
    runs = [(arm.label, f"{', '.join(arm.runs)}; stages from other runs: {arm.reused}") for arm in found.arms]
    lede = f"{found.questions} questions on {found.clips} clips; every stage {found.budget:g} times as long."
    write_sections(
        path,
        f"Ablation: {found.recipe}",
        found.sentence(),
        sections,
        lede=lede,
        notes=(*found.notes, *NOTES),
        facts=runs,
    )
