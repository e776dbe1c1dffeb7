"""The page of a sweep over the scale of adapters."""

from __future__ import annotations

from pathlib import Path

from vidapt.measure.curves import LARGE, Line, percent, plot
from vidapt.measure.scales import RULE, Scaled
from vidapt.measure.sections import Figure, PlainTable, Section, write_sections

HEAD = ["scale", "set", "score", "95 % interval", "points gained"]

NOTES = (
    "A scale multiplies what adapters add: 0 is the model without them, 1 as it was trained. A scale that "
    "was chosen on these questions looks better on them by luck, too: judge it on others.",
    "Intervals are 95 % bootstrap intervals over clips. Gains are paired, against the smallest scale.",
    f"The rule: {RULE}.",
)
_KINDS = ("last", "first")


def write_scales(path: Path, found: Scaled) -> None:
    """Write the page.

    Raises:
        VidaptError: If the file cannot be written.
    """
    figures = [_figure(found, name, kind) for name, kind in zip(found.sizes, _KINDS, strict=False)]
    table = PlainTable("Scores by scale and set.", HEAD, found.rows(), (f"{found.best:g}",))
    sizes = "; ".join(
        f"{name.replace('_', ' ')}: {q} questions on {c} clips" for name, (q, c) in found.sizes.items()
    )
    write_sections(
        path,
        f"Scale of the adapters: {found.model}",
        f"{found.reason()}.",
        [Section("What is gained, and what is kept", "", figures, [table])],
        lede=f"{sizes}.",
        notes=NOTES,
        facts=[("Model", found.model)],
    )


def _figure(found: Scaled, name: str, kind: str) -> Figure:
    scales = list(found.found)
    values = [by_set[name].value.value for by_set in found.found.values()]
    words = f"{name.replace('_', ' ')} ({found.kind[name]}) by scale"
    if len(scales) == 1:
        scales, values = scales * 2, values * 2
    marks = [scales.index(found.best)]
    ends = (f"{scales[0]:g}", f"scale {scales[-1]:g}")
    line = Line(kind, scales, values, marks)
    return Figure(plot([line], words, ends, span=(0.0, 1.0), size=LARGE, write=percent), words)
