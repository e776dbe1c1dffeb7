"""The tables of the study of labels."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from _adapt_measures import read_measured
from _label_visible import FOOTAGE
from _tables import crossed_interval, line, macro, percent, shown, write_between

from vidapt.files import write_json
from vidapt.metrics.intervals import Interval, ratio_difference_interval

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "labels.md"
RESULTS = ROOT / "benchmarks" / "results" / "labels_study.json"
KEYS = {"lies": ("found", "students"), **{name: (f"{name} found", f"{name} switches") for name in FOOTAGE}}
"""Of results, by question."""

MARKS = {
    name: (f"<!-- {name}: written by the study's `table` -->", f"<!-- end of {name} -->") for name in KEYS
}
SHARES = (10, 20, 40)
PLACES = (*(f"home-{share}" for share in SHARES), "club-20")
FLAGS: dict[str, frozenset[str]] = {
    "contradicted": frozenset({"contradicted"}),
    "contradicted or unseen": frozenset({"contradicted", "unseen"}),
}
STUDENTS = ("true", "without_lies", *(f"{kind}_{share}" for share in SHARES for kind in ("dirty", "cleaned")))
SWITCHES = ("none", "random", "weight", "mask_values", "mask_claims", "delete", "oracle")
CUT = 2
"""Sentences of a text that count where texts are compared at equal length."""

Unit = Mapping[str, Any]
Runs = Mapping[int, Mapping[str, Any]]


def write_tables(runs: Path) -> None:
    """Write what there is of all questions, and the results.

    Of a question whose runs hold less than its results do, the section and the results stay as they are.
    """
    results: dict[str, Any] = _read(RESULTS) if RESULTS.exists() else {}
    writers = {"lies": _lies, **{name: partial(_hidden, name=name) for name in FOOTAGE}}
    for name, write in writers.items():
        found: dict[str, dict[str, Any]] = {}
        lines = write(runs, found)
        lost = [f"{key}: {row}" for key, row in _lost(results, found, KEYS[name])]
        if lost:
            print(f"{name}: stays as it is, since {runs} holds less of {', '.join(lost)}")
        elif found:
            write_between(PAGE, MARKS[name][0], "\n".join(lines), MARKS[name][1])
            print("\n".join(lines))
            results |= found
    write_json(RESULTS, results)


def _lost(old: Mapping[str, Any], new: Mapping[str, Any], keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Rows of results in which there would be fewer numbers than there are."""
    for key in keys:
        for row, values in old.get(key, {}).items():
            if _numbers(new.get(key, {}).get(row, ())) < _numbers(values):
                yield key, row


def _numbers(values: Any) -> int:
    if isinstance(values, Mapping):
        values = list(values.values())
    return sum(map(_numbers, values)) if isinstance(values, list | tuple) else 1


def _lies(runs: Path, results: dict[str, Any]) -> list[str]:
    places = {
        place: [_read(path) for path in sorted((runs / "lies").glob(f"{place}-*/found.json"))]
        for place in PLACES
    }
    lines = [
        line(
            [
                "venue",
                "lies",
                "seeds",
                "answers and sentences",
                "flag",
                "precision",
                "recall",
                "of true ones kept",
            ]
        ),
        line(["---"] * 8),
    ]
    for place, seeds in places.items():
        for flag in FLAGS if seeds else ():
            rates = [_rates(one["units"], flag) for one in seeds]
            count = f"{statistics.fmean(len(one['units']) for one in seeds):.0f}"
            columns = zip(*rates, strict=True)
            venue, share = place.split("-")
            cells = [venue, f"{share} %", str(len(seeds)), count, flag, *map(_percent, columns)]
            lines.append(line(cells))
            results.setdefault("found", {})[f"{place} {flag}"] = rates
    for place in ("home-20", "club-20"):
        lines += ["", f"**{place.split('-')[0].capitalize()}, one in five is a lie**", ""]
        lines += _by_kind(places[place], lie="lies")
    found = {name: read for name in STUDENTS if (read := read_measured(runs, name))}
    if "true" not in found:
        return lines
    lines += ["", line(["student of", "seeds", "accuracy", "false claims", "told"]), line(["---"] * 5)]
    for name, by in found.items():
        told = [_told(one["texts"]) for one in by.values()]
        right = [macro(one["sets"]["club"]) for one in by.values()]
        cells = [percent(right), *(_percent([one[at] for one in told]) for at in (0, 1))]
        lines.append(line([f"`{name}`", str(len(by)), *cells]))
        results.setdefault("students", {})[name] = {"accuracy": right, "false, told": told}
    lines += ["", line(["difference, points", "accuracy", "false claims"]), line(["---"] * 3)]
    pairs = [("dirty", "true"), ("cleaned", "true"), ("cleaned", "dirty")]
    for share in SHARES:
        for one, base in pairs:
            name, other = f"{one}_{share}", "true" if base == "true" else f"{base}_{share}"
            if name in found and other in found:
                gap = crossed_interval(found[other], found[name], "club")
                false = _false_gap(found[other], found[name])
                lines.append(line([f"`{name}` − `{other}`", shown(gap), shown(false)]))
    return lines


def _hidden(runs: Path, results: dict[str, Any], name: str) -> list[str]:
    seeds = [_read(path) for path in sorted((runs / name).glob("*/found.json"))]
    of_flags, of_switches = KEYS[name]
    if not seeds:
        return []
    lines = [line(["flag", "precision", "recall", "of shown ones kept"]), line(["---"] * 4)]
    for flag in FLAGS:
        rates = [_rates(one["units"], flag) for one in seeds]
        lines.append(line([flag, *map(_percent, zip(*rates, strict=True))]))
        results.setdefault(of_flags, {})[flag] = rates
    lines += ["", *_by_kind(seeds, lie="not shown")]
    head = ["labels", "seeds", "sentences", "false claims", "told", f"first {CUT}: false", "told"]
    lines += ["", line(head), line(["---"] * len(head))]
    found = {arm: read for arm in SWITCHES if (read := read_measured(runs, f"{name}_{arm}"))}
    for arm, by in found.items():
        whole, cut = ([_told(one["texts"], most) for one in by.values()] for most in (None, CUT))
        length = statistics.fmean(
            statistics.fmean(len(text["true"]) for text in one["texts"]) for one in by.values()
        )
        cells = [_percent([one[at] for one in told]) for told in (whole, cut) for at in (0, 1)]
        lines.append(line([f"`{arm}`", str(len(by)), f"{length:.1f}", *cells]))
        results.setdefault(of_switches, {})[arm] = {"whole": whole, "cut": cut, "sentences": length}
    lines += ["", line(["difference, points", "false claims", f"first {CUT}: false"]), line(["---"] * 3)]
    for arm in found:
        if arm != "none" and "none" in found:
            gaps = [_false_gap(found["none"], found[arm], most) for most in (None, CUT)]
            lines.append(line([f"`{arm}` − `none`", *map(shown, gaps)]))
    return lines


def _by_kind(seeds: Sequence[Mapping[str, Any]], *, lie: str) -> list[str]:
    kinds: dict[str, list[Unit]] = defaultdict(list)
    for one in seeds:
        for unit in one["units"]:
            kinds[unit["kind"]].append(unit)
    head = ["kind", "n", lie, *(f"{flag}: {what}" for flag in FLAGS for what in ("precision", "recall"))]
    lines = [line(head), line(["---"] * len(head))]
    for kind, units in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        cells = [cell for flag in FLAGS for cell in _rates(units, flag)[:2]]
        said = ["-" if one is None else f"{100 * one:.0f}" for one in cells]
        lines.append(line([kind, str(len(units)), str(sum(unit["lie"] for unit in units)), *said]))
    return lines


def _rates(units: Iterable[Unit], flag: str) -> tuple[float | None, float | None, float | None]:
    """Precision and recall of a flag at finding what is false, and the share of the rest that it leaves."""
    counts: dict[tuple[bool, bool], int] = defaultdict(int)
    for unit in units:
        counts[unit["lie"], unit["verdict"] in FLAGS[flag]] += 1
    hit, missed, wrong, left = (
        counts[key] for key in ((True, True), (True, False), (False, True), (False, False))
    )
    return _share(hit, hit + wrong), _share(hit, hit + missed), _share(left, left + wrong)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _told(texts: Iterable[Mapping[str, Any]], most: int | None = None) -> tuple[float, float]:
    """Of the claims of texts (or the first of each) the false share; and the share told of what is due."""
    claims = [text["true"][:most] for text in texts]
    told = [at is not None and (most is None or at < most) for text in texts for at in text["first"]]
    said = [one for clip in claims for one in clip]
    return 1 - sum(said) / max(1, len(said)), sum(told) / max(1, len(told))


def _false_gap(base: Runs, other: Runs, most: int | None = None) -> Interval:
    """By how much the share of false claims differs over the seeds that both have; resampled are clips."""

    def sums(runs: Runs, count: Callable[[Sequence[bool]], int]) -> list[int]:
        by_clip: dict[str, int] = defaultdict(int)
        for seed in sorted(base.keys() & other.keys()):
            for text in runs[seed]["texts"]:
                by_clip[text["clip"]] += count(text["true"][:most])
        return [by_clip[clip] for clip in sorted(by_clip)]

    false: Callable[[Sequence[bool]], int] = lambda said: len(said) - sum(said)  # noqa: E731 - two of a kind
    return ratio_difference_interval(
        (sums(base, false), sums(base, len)), (sums(other, false), sums(other, len))
    )


def _percent(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return percent(known) if known else "-"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
