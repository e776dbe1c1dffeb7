"""The page of a study of gauges."""

from __future__ import annotations

from pathlib import Path

from vidapt.measure.gauging.gauge import WORDS
from vidapt.measure.gauging.study import HEAD, LEAST, Study
from vidapt.measure.sections import PlainTable, Section, write_sections

NOTES = (
    "Spearman's correlation of ranks, over all checkpoints; its interval draws checkpoints anew within each "
    "run. Checkpoints of one run are alike, and runs are few: the interval knows nothing of other runs.",
    f"A gauge whose correlation is below {LEAST:g} either way says too little of the result to be looked at "
    "while a model trains.",
)


def write_study(path: Path, found: Study) -> None:
    """Write the page.

    Raises:
        VidaptError: If the file cannot be written.
    """
    kept = [one.gauge for one in found.related if one.words == "keep"]
    names = list(dict.fromkeys(name for point in found.points for name in point.gauges))
    rows = [
        [point.run, Path(point.model).name, f"{100 * point.result:.1f} %"]
        + [f"{point.gauges[name]:.3f}" if name in point.gauges else "-" for name in names]
        for point in found.points
    ]
    words = [[name, WORDS.get(name, "")] for name in names]
    runs = len({point.run for point in found.points})
    write_sections(
        path,
        "What gauges say of results",
        f"{', '.join(kept)} go with the result." if kept else "No gauge goes with the result.",
        [
            Section("Gauges beside results", "", (), [PlainTable("By gauge.", HEAD, found.rows(), kept)]),
            Section("Checkpoints", "", (), [PlainTable("All.", ("run", "model", "result", *names), rows)]),
            Section("What they are", "", (), [PlainTable("Gauges.", ("gauge", "in words"), words)]),
        ],
        lede=f"{len(found.points)} checkpoints of {runs} runs.",
        notes=NOTES,
    )
