"""The page of a sweep."""

from __future__ import annotations

from pathlib import Path

from vidapt.measure.curves import LARGE, Line, percent, plot
from vidapt.measure.sections import Figure, PlainTable, Section, write_sections
from vidapt.measure.sweeps import BEST, ENOUGH, FRAMES, KEEP, SCALE, SIDE, Swept

HEAD = ["value", "set", "score", "95 % interval", "points gained", "tokens of a clip"]

_NOTES = {
    SCALE.name: "A scale multiplies what adapters add: 0 is the model without them, 1 as it was trained.",
    FRAMES.name: "Frames are taken as the model takes them, only fewer or more. It was trained on one "
    "number of them: what it would learn from another, this does not show.",
    SIDE.name: "Pictures are made smaller before the model cuts them, as if the files had been so small; "
    "none is made larger.",
    KEEP.name: "What changes least from frame to frame is left out; a clip's first slice is always read. A "
    "model that was trained on all tokens has to do without some; training with `prune` is another matter.",
}
NOTES = (
    "What was chosen on these questions looks better on them by luck, too: judge it on others.",
    "Intervals are 95 % bootstrap intervals over sources of clips. Gains are paired, against the smallest "
    "value.",
    f"Best is {BEST}. Enough is {ENOUGH}.",
)
_KINDS = ("last", "first")


def write_sweep(path: Path, found: Swept) -> None:
    """Write the page.

    Raises:
        VidaptError: If the file cannot be written.
    """
    figures = [_figure(found, name, kind) for name, kind in zip(found.sizes, _KINDS, strict=False)]
    table = PlainTable("Scores by value and set.", HEAD, found.rows(), (f"{found.best:g}",))
    sizes = "; ".join(
        f"{name.replace('_', ' ')}: {q} questions on {c} clips" for name, (q, c) in found.sizes.items()
    )
    words = found.axis.words
    write_sections(
        path,
        f"{words[0].upper()}{words[1:]}: {found.model}",
        f"{found.reason()}.",
        [Section("What is gained, and what is kept", "", figures, [table])],
        lede=f"{sizes}.",
        notes=(_NOTES[found.axis.name], *NOTES),
        facts=[("Model", found.model)],
    )


def _figure(found: Swept, name: str, kind: str) -> Figure:
    places = list(found.found)
    values = [by_set[name].value.value for by_set in found.found.values()]
    words = f"{name.replace('_', ' ')} ({found.kind[name]}) by {found.axis.words}"
    if len(places) == 1:
        places, values = places * 2, values * 2
    marks = [places.index(found.best)]
    ends = (f"{places[0]:g}", f"{found.axis.name} {places[-1]:g}")
    line = Line(kind, places, values, marks)
    return Figure(plot([line], words, ends, span=(0.0, 1.0), size=LARGE, write=percent), words)
