"""The report of an alignment: what was gained in the domain, what was lost elsewhere, and how terms fared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from vidapt.errors import ConfigError
from vidapt.measure.alignment import Alignment, Found, SetLog, StageLog, TermLog, Track, mean_recall, words
from vidapt.measure.charts import sign
from vidapt.measure.curves import LARGE, Line, percent, plot, running, step_ends
from vidapt.measure.layout import write_page
from vidapt.measure.page import Tile
from vidapt.measure.provenance import run_facts

TEMPLATE = "alignment.html.j2"
KINDS = {"in_domain": "last", "general": "first"}
"""Class of each set's curve."""

NOTES = (
    "Recall@1 is the share of clips that find one of their texts first among all texts of the set, and of "
    "texts that find their clip; the curves show the mean of both. It depends on how many there are: numbers "
    "of sets of different sizes do not compare.",
    "These are single numbers without intervals. The best of many checkpoints is better by luck, too: judge "
    "it on clips that were not used to choose it.",
    "A term's chance level is what it would be if nothing could be told apart. A local term compares words "
    "within one text and can fall below chance without any use of the video; retrieval tells.",
    "Effective rank near 1, or similarity near 1, means that all vectors have become alike.",
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawing, and what is said under it."""

    drawing: Markup
    words: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of the table: when, on which set, and recall@1/5/10, median and mean rank both ways."""

    when: str
    set: str
    cells: tuple[str, ...]
    total: bool


@dataclass(frozen=True, slots=True)
class StagePage:
    """A stage ready to be laid out."""

    name: str
    retrieval: Drawn
    moments: tuple[Moment, ...]
    terms: tuple[Drawn, ...]
    gauges: tuple[Drawn, ...]
    still: str
    warnings: tuple[str, ...]


def write_alignment(path: Path, alignment: Alignment) -> None:
    """Write the page.

    Args:
        path: The file; replaced if it exists.
        alignment: At least a stage or a sweep.

    Raises:
        ConfigError: If it holds neither.
        VidaptError: If the file cannot be written.
    """
    if not alignment.stages and alignment.sweep is None:
        raise ConfigError(path, "there is nothing to draw", "measure retrieval, or sweep")
    sets = list(dict.fromkeys(name for stage in alignment.stages for name in stage.sets))
    write_page(
        path,
        TEMPLATE,
        title=f"Alignment: {alignment.name}",
        verdict=_verdict(alignment),
        tiles=_tiles(alignment),
        stages=[_stage(stage) for stage in alignment.stages],
        sweep=None if alignment.sweep is None else _sweep(alignment.sweep),
        missing=[words(name) for name in KINDS if sets and name not in sets],
        legend=[(sign(kind), words(name)) for name, kind in KINDS.items()],
        notes=NOTES,
        facts=_facts(alignment),
        commands=(),
    )


def _facts(alignment: Alignment) -> list[tuple[str, str]]:
    facts = [] if alignment.run is None else run_facts(alignment.run)
    if alignment.sweep is not None:
        facts += [("Between", f"{alignment.sweep['start']} and {alignment.sweep['tuned']}")]
        facts += [(f"Left out: {one['path']}", one["reason"]) for one in alignment.sweep.get("broken", ())]
    return facts


def _verdict(alignment: Alignment) -> str:
    """The outcome in a sentence or two."""
    said = [_said(name, logs) for name in KINDS if (logs := _logs(alignment, name))]
    if alignment.sweep is not None:
        share = alignment.sweep["best"]["share"]
        said.append(f"of the models between start and tuned, that of share {share:g} is best over all sets")
    return " ".join(f"{one[:1].upper()}{one[1:]}." for one in said)


def _logs(alignment: Alignment, name: str) -> list[SetLog]:
    return [stage.sets[name] for stage in alignment.stages if name in stage.sets]


def _said(name: str, logs: Sequence[SetLog]) -> str:
    first, last = logs[0].recall.values[0], logs[-1].recall.values[-1]
    where = "on the general set" if name == "general" else "in its domain"
    if first == last:
        return f"recall@1 {where} is {_number(first)} before and after"
    return f"recall@1 {where} {'rose' if last > first else 'fell'} from {_number(first)} to {_number(last)}"


def _tiles(alignment: Alignment) -> list[Tile]:
    tiles = []
    for name in KINDS:
        logs = _logs(alignment, name)
        if logs:
            best = max((log.recall.values[log.best], -place) for place, log in enumerate(logs))
            log = logs[-best[1]]
            ends = f"{100 * logs[0].recall.values[0]:.1f} → {100 * logs[-1].recall.values[-1]:.1f} %"
            note = f"recall@1; best {_number(best[0])} at step {log.steps[log.best]}"
            tiles.append(Tile(f"{words(name).capitalize()}", ends, note))
    return tiles


def _stage(stage: StageLog) -> StagePage:
    gauges = {
        f"{name}: {words(gauge)}": track
        for name, term in stage.terms.items()
        for gauge, track in term.gauges.items()
    }
    moving = {name: track for name, track in gauges.items() if len(set(track.values)) > 1}
    still = [f"{name} {gauges[name].values[0]:.4g}" for name in gauges if name not in moving]
    return StagePage(
        stage.name,
        _retrieval(stage),
        tuple(_moments(stage)),
        tuple(_term(name, term) for name, term in stage.terms.items()),
        tuple(_gauge(name, track) for name, track in moving.items()),
        ", ".join(still),
        tuple(stage.warnings()),
    )


def _retrieval(stage: StageLog) -> Drawn:
    """Both sets' curves; the best checkpoint of each is marked."""
    lines = [Line(KINDS[name], log.steps, log.recall.values, [log.best]) for name, log in stage.sets.items()]
    said = "; ".join(f"{words(name)} {_course(log)}" for name, log in stage.sets.items())
    steps = sorted({step for log in stage.sets.values() for step in log.steps})
    return _large(lines, f"{stage.name}: {said}", step_ends(steps), f"Recall@1, mean of both ways: {said}.")


def _course(log: SetLog) -> str:
    places = (("", 0), ("", -1), ("best ", log.best))
    told = (f"{word}{_number(log.recall.values[at])} at step {log.steps[at]}" for word, at in places)
    return ", ".join(told) + _size(log.clips, log.texts)


def _sweep(sweep: Mapping[str, Any]) -> tuple[Drawn, list[Moment]]:
    """Both sets' curves over the share of the tuned model, and all numbers."""
    shares = [row["share"] for row in sweep["shares"]]
    best = shares.index(sweep["best"]["share"])
    tracks = {name: [mean_recall(row[name]) for row in sweep["shares"]] for name in sweep["sets"]}
    lines = [Line(KINDS.get(name, "last"), shares, values, [best]) for name, values in tracks.items()]
    said = "; ".join(
        f"{words(name)} {_number(values[0])} at share {shares[0]:g}, {_number(values[-1])} at {shares[-1]:g}"
        f"{_size(sweep['sets'][name]['clips'], sweep['sets'][name]['texts'])}"
        for name, values in tracks.items()
    )
    chosen = f"Marked: share {shares[best]:g}, best by {sweep['best']['rule']}."
    ends = (f"share {shares[0]:g}", f"share {shares[-1]:g}")
    moments = [
        _moment(f"share {row['share']:g}", name, row[name], total=row["share"] == shares[best])
        for row in sweep["shares"]
        for name in sweep["sets"]
    ]
    return _large(lines, said, ends, f"Recall@1, mean of both ways: {said}. {chosen}"), moments


def _large(lines: Sequence[Line], label: str, ends: tuple[str, str], said: str) -> Drawn:
    highest = max(y for line in lines for y in line.ys) or 1.0
    return Drawn(plot(lines, label, ends, span=(0.0, highest), size=LARGE, write=percent), said)


def _moments(stage: StageLog) -> list[Moment]:
    """The checkpoints that matter: the first, the best by each set, and the last."""
    named: dict[int, list[str]] = {}
    for log in stage.sets.values():
        named.setdefault(log.steps[0], ["before the first step" if log.steps[0] == 0 else "first"])
    for name, log in stage.sets.items():
        named.setdefault(log.steps[log.best], []).append(f"best {words(name)}")
    for log in stage.sets.values():
        labels = named.setdefault(log.steps[-1], [])
        if "last" not in labels:
            labels.append("last")
    return [
        _moment(f"step {step}: {', '.join(named[step])}", name, log.found[log.steps.index(step)])
        for step in sorted(named)
        for name, log in stage.sets.items()
        if step in log.steps
    ]


def _moment(when: str, name: str, found: Found, *, total: bool = False) -> Moment:
    cells: list[str] = []
    for one in (found["to_text"], found["to_video"]):
        cells += [f"{100 * one[f'recall@{k}']:.1f}" for k in (1, 5, 10)]
        cells += [f"{one['median_rank']:g}", f"{one['mean_rank']:.2f}"]
    return Moment(when, words(name), tuple(cells), total)


def _term(name: str, term: TermLog) -> Drawn:
    """A term's value, and its chance level where it has one."""
    value, chance = term.value, term.chance
    lines = [Line("raw", value.steps, value.values), Line("mean", value.steps, running(value.values))]
    said = f"{words(name)}: {_first_and_last(value)}"
    if chance is not None:
        lines.append(Line("level", chance.steps, chance.values))
        said += f"; chance {_first_and_last(chance)} (dashed)"
    # Where a term comes close to nothing is as telling as where it begins: no logarithm.
    values = [y for line in lines for y in line.ys]
    return Drawn(plot(lines, said, step_ends(value.steps), span=(min(values), max(values))), said)


def _gauge(name: str, track: Track) -> Drawn:
    said = f"{name}: {_first_and_last(track)}"
    lines = [Line("raw", track.steps, track.values), Line("mean", track.steps, running(track.values))]
    return Drawn(plot(lines, said, step_ends(track.steps)), said)


def _first_and_last(track: Track) -> str:
    first, last = (f"{value:.3g}" for value in (track.values[0], track.values[-1]))
    return first if first == last else f"{first} at first, {last} at last"


def _size(clips: int | None, texts: int | None) -> str:
    return "" if clips is None else f" ({clips} clips, {texts} texts)"


def _number(share: float) -> str:
    return f"{100 * share:.1f} %"
