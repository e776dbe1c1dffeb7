"""The report of a run that trains a language model: what its sets said while it learned, and its losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import exists
from vidapt.measure.curves import LARGE, Line, percent, plot, step_ends
from vidapt.measure.logs import LOG, logged_rows
from vidapt.measure.provenance import CARD, RUN, curves, read_object, run_facts
from vidapt.measure.sections import Figure, PlainTable, Section, write_sections
from vidapt.training.align.names import BEST, SWEEP
from vidapt.training.measuring import PREFIX
from vidapt.training.sweep.answers import Answers
from vidapt.training.sweep.swept import rows_of

HEAD = ["stage and set", "at first", "at last", "best kept", "at step", "told apart"]
GAUGES = ("told_apart", "evidence", "evidence_other_clip")
LAST, FLAT = 3, 0.01
"""Checkpoints at the end over which a gauge is looked at, and the change that counts as none."""

NOTES = (
    "Each set is a fixed sample of its questions, asked before the first step and at every checkpoint. Short "
    "answers are written greedily and compared; the loss is that of the labels' answers, and all that is "
    "measured of longer ones.",
    "These are single numbers. The best of many checkpoints is better by luck, too: judge it on questions "
    "that were not used to choose it.",
)
_KINDS = ("last", "first", "mean", "raw")
_DRAWN: tuple[tuple[str, Callable[[float], str] | None, tuple[float, float] | None], ...] = (
    ("accuracy", percent, (0.0, 1.0)),
    ("loss", None, None),
    ("told_apart", percent, (0.0, 1.0)),
    ("evidence", None, None),
    ("evidence_other_clip", None, None),
)


@dataclass(frozen=True)
class SetCourse:
    """A set of a stage while it was trained.

    Attributes:
        stage: Name of the stage's folder.
        name: Of the set.
        steps: When it was asked.
        accuracy: Share of right answers then; None where answers are texts.
        loss: Cross-entropy of a label's token then.
        best: Place of the checkpoint that is kept as the best.
        gauges: Of those in `GAUGES` that were logged, the values then (`vidapt.gauges`).
    """

    stage: str
    name: str
    steps: tuple[int, ...]
    accuracy: tuple[float, ...] | None
    loss: tuple[float, ...]
    best: int
    gauges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def aim(self) -> str:
        """Whether what is told apart still rises: then the stage has not reached what it can."""
        told = self.gauges.get("told_apart", ())
        if len(told) < LAST:
            return "-"
        gain = told[-1] - told[-LAST]
        moves = "rises" if gain > FLAT else "falls" if gain < -FLAT else "is flat"
        return f"{100 * told[-1]:.1f} %, {moves}"

    def values(self, label: str) -> tuple[float, ...] | None:
        """A number at every checkpoint; None if it was not measured."""
        own = {"accuracy": self.accuracy, "loss": self.loss}
        return own[label] if label in own else self.gauges.get(label)

    def written(self, place: int) -> str:
        """What was found at one time."""
        loss = f"loss {self.loss[place]:.3f}"
        return loss if self.accuracy is None else f"{100 * self.accuracy[place]:.1f} %, {loss}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        best = {"step": self.steps[self.best], "loss": self.loss[self.best]}
        if self.accuracy is not None:
            best["accuracy"] = self.accuracy[self.best]
        kept = {"steps": self.steps, "accuracy": self.accuracy, "loss": self.loss, "gauges": self.gauges}
        return {"stage": self.stage, "set": self.name, **kept, "best": best}


@dataclass(frozen=True)
class Course:
    """A run.

    Attributes:
        run: Its folder; None for a sweep alone.
        sets: Of all stages.
        sweep: What `training.sweep` found between its start and what it made of it; None if nothing was.
    """

    run: Path | None
    sets: Sequence[SetCourse]
    sweep: Mapping[str, Any] | None

    def rows(self) -> list[list[str]]:
        """Stage and set, what was found at first, at last and at best, its step, and what is told apart."""
        return [
            [
                f"{one.stage}: {one.name.replace('_', ' ')}",
                *(one.written(place) for place in (0, -1, one.best)),
                f"{one.steps[one.best]}",
                one.aim,
            ]
            for one in self.sets
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "run": self.run and str(self.run),
            "sets": [one.to_dict() for one in self.sets],
            "sweep": self.sweep,
        }


def read_course(run: Path) -> Course:
    """What a run logged.

    Raises:
        CheckpointError: If the folder is no run's.
        ConfigError: If no stage was measured on a set.
        FormatError: If a log or a card cannot be read.
    """
    if not exists(run / RUN):
        raise CheckpointError(run, f"holds no {RUN}", "give a run's folder")
    found = course_of(run, read_object(run / SWEEP) or None)
    if not found.sets:
        raise ConfigError(
            run,
            "no stage of it was measured on a set",
            "give a stage `measure: {in_domain: LABELS, general: LABELS}` and train again",
        )
    return found


def course_of(run: Path | None, sweep: Mapping[str, Any] | None) -> Course:
    """What a run logged, if there is one, with a sweep."""
    logs = [] if run is None else sorted(run.glob(f"*/{LOG}"))
    return Course(run, [one for path in logs for one in _sets(path)], sweep)


def _sets(path: Path) -> list[SetCourse]:
    rows = [row for _, row in logged_rows(path)]
    names = dict.fromkeys(
        key.removeprefix(PREFIX).removesuffix("/loss")
        for row in rows
        for key in row
        if key.startswith(PREFIX) and key.endswith("/loss")
    )
    return [
        _set(path.parent.parent, name, [row for row in rows if f"{PREFIX}{name}/loss" in row])
        for name in names
    ]


def _set(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> SetCourse:
    steps = tuple(int(row["step"]) for row in rows)
    loss = tuple(float(row[f"{PREFIX}{name}/loss"]) for row in rows)
    right = [row.get(f"{PREFIX}{name}/accuracy") for row in rows]
    accuracy = None if None in right else tuple(float(value or 0.0) for value in right)
    kept = read_object(folder / f"{BEST}{name}" / CARD).get("step")
    # Where none was kept, such as of a model in few bits, it follows from the log.
    place = max(range(len(steps)), key=lambda at: ((accuracy or loss)[at] if accuracy else 0.0, -loss[at]))
    gauges = {
        gauge: tuple(float(row[f"{PREFIX}{name}/{gauge}"]) for row in rows)
        for gauge in GAUGES
        if all(f"{PREFIX}{name}/{gauge}" in row for row in rows)
    }
    best = steps.index(kept) if kept in steps else place
    return SetCourse(folder.name, name, steps, accuracy, loss, best, gauges)


def write_course(path: Path, course: Course) -> None:
    """Write the page.

    Raises:
        VidaptError: If the file cannot be written.
    """
    sections = [_measured(course)] if course.sets else []
    if course.sweep is not None:
        sections.append(_swept(course.sweep))
    losses = [] if course.run is None else curves(course.run)
    if losses:
        figures = [Figure(one.drawing, f"{one.stage}: {one.words}") for one in losses]
        sections.append(Section("Training", "Loss by step.", figures))
    name = (
        course.run.resolve().name if course.run is not None else Path(str((course.sweep or {})["tuned"])).name
    )
    facts = [] if course.run is None else run_facts(course.run)
    if course.sweep is not None:
        facts.append(("Between", f"{course.sweep['start']} and {course.sweep['tuned']}"))
        facts += [(f"Left out: {one['path']}", one["reason"]) for one in course.sweep["broken"]]
    write_sections(path, f"Run: {name}", _verdict(course), sections, notes=NOTES, facts=facts)


def _verdict(course: Course) -> str:
    said = [
        f"{one.stage}, {one.name.replace('_', ' ')}: {one.written(0)} at first, {one.written(-1)} at last"
        for one in course.sets
    ]
    if course.sweep is not None:
        share = course.sweep["best"]["share"]
        said.append(f"of the models between start and tuned, that of share {share:g} is best over all sets")
    return "; ".join(said) + "."


def _measured(course: Course) -> Section:
    figures = []
    for stage in dict.fromkeys(one.stage for one in course.sets):
        sets = [one for one in course.sets if one.stage == stage]
        figures += [
            figure
            for label, write, span in _DRAWN
            if (figure := _figure(stage, sets, label, write, span)) is not None
        ]
    table = PlainTable(
        "At checkpoints; what is kept lies in the stage's folder as best-NAME.", HEAD, course.rows()
    )
    return Section(
        "What was gained, and what was kept", "Marks are the checkpoints kept as best.", figures, [table]
    )


def _figure(
    stage: str,
    sets: Sequence[SetCourse],
    label: str,
    write: Callable[[float], str] | None,
    span: tuple[float, float] | None,
) -> Figure | None:
    """A number of all sets of a stage over its steps; None where it was not measured, or only once."""
    known = [(one, values) for one in sets if (values := one.values(label)) is not None]
    if not known or len(known[0][0].steps) < 2:
        return None
    lines = [
        Line(kind, one.steps, values, [one.best])
        for (one, values), kind in zip(known, _KINDS * len(known), strict=False)
    ]
    names = ", ".join(one.name.replace("_", " ") for one, _ in known)
    words = f"{stage}: {label.replace('_', ' ')} of {names}"
    options = {} if write is None else {"write": write}
    ends = step_ends(known[0][0].steps)
    return Figure(plot(lines, words, ends, span=span, size=LARGE, **options), words)


def _swept(swept: Mapping[str, Any]) -> Section:
    shares = [one["share"] for one in swept["shares"]]
    place = shares.index(swept["best"]["share"])
    lines = [
        Line(kind, shares, [one[name]["accuracy"] for one in swept["shares"]], [place])
        for name, kind in zip(swept["sets"], _KINDS * len(swept["sets"]), strict=False)
        if "accuracy" in swept["shares"][0][name]
    ]
    figures = []
    if lines and len(shares) > 1:
        names = ", ".join(name.replace("_", " ") for name in swept["sets"])
        words = f"accuracy of {names} by share of the tuned model"
        ends = (f"{shares[0]:g}", f"share {shares[-1]:g}")
        figures.append(Figure(plot(lines, words, ends, span=(0.0, 1.0), size=LARGE, write=percent), words))
    best = (f"{swept['best']['share']:g}",)
    table = PlainTable(f"Best: {Answers.rule}.", Answers.head, rows_of(Answers(), swept), best)
    return Section("Between the model it began with and what it became", "", figures, [table])
