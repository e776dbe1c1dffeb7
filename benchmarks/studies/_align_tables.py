"""The study's tables: means over seeds, and differences from the base with intervals over clips."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _tables import write_between

from vidapt.files import write_json
from vidapt.metrics.intervals import Interval, difference_interval

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "alignment.md"
RESULTS = ROOT / "benchmarks" / "results" / "alignment_study.json"
BEGIN, END = "<!-- numbers: written by the study's `table` -->", "<!-- end of numbers -->"
BASE, START = "base", "start"
KINDS = ("colour", "pocket", "side", "order")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Number:
    """A column: which rows count, and what of them."""

    title: str
    table: str
    value: str
    keep: Callable[[Row], bool] = lambda row: True

    def of(self, measured: Row) -> list[tuple[str, float]]:
        """(clip, value) of every row that counts; none where the table was not measured."""
        return [
            (str(row["clip"]), float(row[self.value]))
            for row in measured.get(self.table, ())
            if self.keep(row)
        ]


def _kind(kind: str) -> Callable[[Row], bool]:
    return lambda row: bool(row["kind"] == kind)


RETRIEVAL = (
    Number("R@1, club", "in_domain", "hit"),
    Number("R@1, home", "general", "hit"),
)
WINS = (
    *(Number(f"{kind} wins", "statements", "win", _kind(kind)) for kind in KINDS),
    Number("short right beats long wrong", "statements", "win", _kind("length")),
    Number("long right beats short wrong", "statements", "win", _kind("long")),
)
MARGINS = tuple(
    Number(f"{kind} margin", "statements", "margin", _kind(kind)) for kind in (*KINDS, "length", "long")
)
PLACES = (
    Number("on the ball, projected", "located/projected", "hits"),
    Number("on the ball, own level", "own", "hits"),
)
NOISE = (
    Number("entropy of the word's map", "located/projected", "entropy"),
    Number("its share on high-norm patches", "located/projected", "high_norm"),
)
COLUMNS = (*RETRIEVAL, *WINS, *PLACES)

ALL = (*COLUMNS, *MARGINS, *NOISE)


def write_tables(measured: Path, names: Sequence[str]) -> None:
    """Read what was measured, and write the page's numbers and the results file."""
    found = {name: _read(measured, name) for name in (START, *names)}
    found = {name: runs for name, runs in found.items() if runs}
    base = found[BASE]
    tables = [
        _means("Means over seeds", COLUMNS, found),
        _means("Margins (cosine of the true one less that of the false one)", MARGINS, found),
        _means("Noise of a colour word's map, projected", NOISE, found),
        _differences(COLUMNS, found, base),
        _logs(found),
    ]
    text = "\n\n".join(tables)
    write_between(PAGE, BEGIN, text, END)
    write_json(RESULTS, _results(found, base))
    print(text)


def _read(folder: Path, name: str) -> dict[int, Row]:
    """What was measured of a variant, by seed."""
    runs = {}
    for file in sorted(folder.glob(f"{name}-[0-9]*.json")):
        row = json.loads(file.read_text(encoding="utf-8"))
        own = next(
            (key for key in sorted(row) if key.startswith("located/") and key != "located/projected"), None
        )
        row["own"] = row[own] if own else row["located/projected"]
        runs[int(file.stem.rpartition("-")[2])] = row
    return runs


def _mean(number: Number, row: Row) -> float:
    values = [value for _, value in number.of(row)]
    return statistics.fmean(values) if values else float("nan")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _means(title: str, numbers: Sequence[Number], found: Mapping[str, Mapping[int, Row]]) -> str:
    lines = [f"**{title}**, with the standard deviation between seeds in brackets.", ""]
    lines += [_line(["variant", "seeds", *(n.title for n in numbers)]), _line(["---"] * (len(numbers) + 2))]
    for name, runs in found.items():
        cells = []
        for number in numbers:
            means = [_mean(number, row) for row in runs.values()]
            spread = f" ({statistics.stdev(means):.3f})" if len(means) > 1 else ""
            cells.append(f"{statistics.fmean(means):.3f}{spread}")
        lines.append(_line([f"`{name}`", str(len(runs)), *cells]))
    return "\n".join(lines)


def _differences(
    numbers: Sequence[Number], found: Mapping[str, Mapping[int, Row]], base: Mapping[int, Row]
) -> str:
    lines = [
        "**Differences from `base`** on the same clips and seeds, with 95 % intervals (clips are drawn"
        " anew, seeds are not); those that exclude zero are bold.",
        "",
        _line(["variant", *(n.title for n in numbers)]),
        _line(["---"] * (len(numbers) + 1)),
    ]
    for name, runs in found.items():
        if name not in (BASE, START):
            lines.append(_line([f"`{name}`", *(_shown(_difference(n, base, runs)) for n in numbers)]))
    return "\n".join(lines)


def _difference(number: Number, base: Mapping[int, Row], runs: Mapping[int, Row]) -> Interval | None:
    before: list[float] = []
    after: list[float] = []
    clips: list[str] = []
    for seed in sorted(base.keys() & runs.keys()):
        old, new = number.of(base[seed]), number.of(runs[seed])
        if [clip for clip, _ in old] != [clip for clip, _ in new]:
            return None
        before += [value for _, value in old]
        after += [value for _, value in new]
        clips += [clip for clip, _ in old]
    return difference_interval(before, after, clips, resamples=4000) if before else None


def _shown(found: Interval | None) -> str:
    if found is None:
        return "-"
    text = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"**{text}**" if found.excludes_zero() else text


def _logs(found: Mapping[str, Mapping[int, Row]]) -> str:
    lines = [
        "**At the end of training** (mean over seeds): a term and, behind the stroke, its chance level.",
        "",
        _line(["variant", "contrastive", "local", "patches kept", "rank of patches", "rank of tokens"]),
        _line(["---"] * 6),
    ]
    for name, runs in found.items():
        logs = [row["log"] for row in runs.values() if "log" in row]
        if logs:
            cells = [_pair(logs, "contrastive"), _pair(logs, "local_align"), _one(logs, "local_align/kept")]
            cells += [_one(logs, f"collapse/{what}_rank") for what in ("patches", "tokens")]
            lines.append(_line([f"`{name}`", *cells]))
    return "\n".join(lines)


def _one(logs: Sequence[Mapping[str, float]], key: str) -> str:
    values = [log[key] for log in logs if key in log]
    return f"{statistics.fmean(values):.2f}" if values else "-"


def _pair(logs: Sequence[Mapping[str, float]], term: str) -> str:
    value = _one(logs, term)
    return value if value == "-" else f"{value} / {_one(logs, f'{term}/chance')}"


def _results(found: Mapping[str, Mapping[int, Row]], base: Mapping[int, Row]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, runs in found.items():
        means = {n.title: {str(seed): round(_mean(n, row), 5) for seed, row in runs.items()} for n in ALL}
        told[name] = {"means": means}
        if name not in (BASE, START):
            intervals = {n.title: _difference(n, base, runs) for n in ALL}
            told[name]["differences"] = {
                title: [round(x, 5) for x in (one.value, one.low, one.high)]
                for title, one in intervals.items()
                if one is not None
            }
    return told
