"""Tables of the study of pruning."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _adapt_measures import read_measured
from _tables import RESAMPLES, Runs, crossed_interval, line, macro, percent, shown, write_between

from vidapt.files import write_json
from vidapt.metrics.intervals import LEVEL, Interval

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "pruning.md"
RESULTS = ROOT / "benchmarks" / "results" / "pruning_study.json"
BEGIN, END = "<!-- pruning: written by the study's `table` -->", "<!-- end of pruning -->"

CELLS = ROOT / "benchmarks" / "results" / "pruning_cells.json"
CELLS_BEGIN = "<!-- pruning of cells: written by the study's `table` -->"
CELLS_END = "<!-- end of pruning of cells -->"

HEADS = {
    "shown-asked": "Shown less when asked only (the shipped model)",
    "shown-trained": "Shown less in learning, too",
}
CELL_HEADS = {
    "cells-asked": "Cells left out when asked only",
    "cells-trained": "Cells left out in learning, too",
}
SHARES = ("0.5", "0.25", "0.125", "0.0625")


def write_tables(runs: Path, arms: Sequence[str]) -> None:
    """Write the page's tables and the results file of footage that shows less, and of time."""
    lines, results = _sections(runs, arms, HEADS)
    lines += _cost(runs, arms, results)
    _write(lines, results, (BEGIN, END), RESULTS)


def write_cell_tables(runs: Path, arms: Sequence[str]) -> None:
    """Write the page's tables and the results file of cells that are left out."""
    lines, results = _sections(runs, arms, CELL_HEADS)
    _write(lines, results, (CELLS_BEGIN, CELLS_END), CELLS)


def _write(lines: Sequence[str], results: Mapping[str, Any], marks: tuple[str, str], file: Path) -> None:
    """Put what was found in its place; nothing where nothing was measured."""
    if results:
        write_between(PAGE, marks[0], "\n".join(lines).rstrip(), marks[1])
        write_json(file, results)
        print("\n".join(lines))


def _sections(runs: Path, arms: Sequence[str], heads: Mapping[str, str]) -> tuple[list[str], dict[str, Any]]:
    """Tables of each way that was measured, and the same as plain values."""
    lines: list[str] = []
    results: dict[str, Any] = {}
    for way, head in heads.items():
        found = {arm: one for arm in arms if (one := read_measured(runs, f"{way}-{arm}"))}
        if "all" not in found:
            continue
        results[way] = {}
        blind = {f"{100 * macro(one['sets']['home'], 'blind'):.1f}" for one in found["all"].values()}
        lines += [
            f"**{head}.** Without the clip: {', '.join(sorted(blind))}.",
            "",
            *_means(found, results[way]),
            "",
            *_gaps(found, results[way]),
            "",
            *_by_type(found, results[way]),
            "",
        ]
    return lines, results


def _cost(runs: Path, arms: Sequence[str], results: dict[str, Any]) -> list[str]:
    """What a clip and its questions take of a model that reads cells."""
    head = ["read", "tokens of a clip", "CPU s a clip"]
    lines = ["**Time (tokens left out; a model that has not learned to see)**", ""]
    lines += [line(head), line(["---"] * len(head))]
    found = {}
    for arm in arms:
        for one in read_measured(runs, f"cost-asked-{arm}").values():
            lines.append(line([f"`{arm}`", str(one["tokens"]), f"{one['cpu_seconds']:.3f}"]))
            found[arm] = {"tokens": one["tokens"], "cpu_seconds": one["cpu_seconds"]}
    if found:
        results["cost"] = found
    return lines if found else []


def _means(found: Mapping[str, Runs], results: dict[str, Any]) -> list[str]:
    counted = any("cells" in one for by in found.values() for one in by.values())
    head = [*(["read", "cells"] if counted else ["shown"]), "seeds", "accuracy", "false claims", "told"]
    lines = [line(head), line(["---"] * len(head))]
    for arm, by in found.items():
        accuracy = [macro(one["sets"]["home"]) for one in by.values()]
        false, told = zip(*(_rates(_sums(one)) for one in by.values()), strict=True)
        cells = [percent(accuracy), percent(false), percent(told)]
        read = [round(statistics.fmean(one["cells"] for one in by.values()))] if counted else []
        lines.append(line([f"`{arm}`", *map(str, read), str(len(by)), *cells]))
        results[arm] = {
            **({"cells": read[0]} if counted else {}),
            "accuracy": [round(x, 5) for x in accuracy],
            "false_claims": [round(x, 5) for x in false],
            "told": [round(x, 5) for x in told],
        }
    return lines


def _gaps(found: Mapping[str, Runs], results: dict[str, Any]) -> list[str]:
    pairs = [(arm, "all") for arm in found if arm != "all"]
    ways = ("random", "frames", "coarse")
    pairs += [(f"keep_{share}", f"{way}_{share}") for share in SHARES for way in ways]
    lines = [line(["difference, points", "accuracy", "false claims"]), line(["---"] * 3)]
    results["differences"] = {}
    for arm, base in pairs:
        if arm in found and base in found:
            gap = crossed_interval(found[base], found[arm], "home")
            false = false_gap(found[base], found[arm])
            lines.append(line([f"`{arm}` − `{base}`", shown(gap), shown(false)]))
            told = {"accuracy": gap, "false_claims": false}
            results["differences"][f"{arm} - {base}"] = {
                what: one and [round(x, 5) for x in (one.value, one.low, one.high)]
                for what, one in told.items()
            }
    return lines


def _by_type(found: Mapping[str, Runs], results: dict[str, Any]) -> list[str]:
    arms = [arm for arm in found if arm == "all" or arm.startswith("keep_")]
    shares: dict[str, dict[str, list[int]]] = {arm: defaultdict(list) for arm in arms}
    for arm in arms:
        for one in found[arm].values():
            for row in one["sets"]["home"]:
                shares[arm][row[2]].append(row[3]["model"])
    types = sorted(shares["all"])
    lines = [line(["type", *(f"`{arm}`" for arm in arms)]), line(["---"] * (1 + len(arms)))]
    results["types"] = {
        kind: {arm: round(statistics.fmean(shares[arm][kind]), 5) for arm in arms} for kind in types
    }
    for kind, by in results["types"].items():
        lines.append(line([kind, *(f"{100 * by[arm]:.0f}" for arm in arms)]))
    return lines


def _sums(one: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """By clip: claims that are false, claims, facts that are told, facts worth telling."""
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(4))
    for text in one["texts"]:
        claims = text["supported"] + text["contradicted"] + text["unparsed"]
        sums[text["clip"]] += [text["contradicted"], claims, text["recalled"], text["salient"]]
    return sums


def _rates(sums: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """The share of claims that is false, and that of facts that is told."""
    false, claims, told, salient = sum(sums.values(), np.zeros(4))
    return float(false / max(1, claims)), float(told / max(1, salient))


def false_gap(base: Runs, other: Runs) -> Interval | None:
    """By how much the share of false claims differs, over the seeds that both have; both are drawn anew."""
    seeds = sorted(base.keys() & other.keys())
    if not seeds:
        return None
    pairs = [(_sums(base[seed]), _sums(other[seed])) for seed in seeds]
    clips = sorted(pairs[0][0])
    table = np.array([[[side[clip][:2] for clip in clips] for side in pair] for pair in pairs])

    def gap(sums: np.ndarray) -> np.ndarray:
        rates: np.ndarray = sums[..., 0] / np.maximum(1, sums[..., 1])
        return rates[..., 1] - rates[..., 0]

    value = float(gap(table.sum(2)).mean())
    rng = np.random.default_rng(0)
    of_seeds = rng.multinomial(len(seeds), [1 / len(seeds)] * len(seeds), RESAMPLES) / len(seeds)
    of_clips = rng.multinomial(len(clips), [1 / len(clips)] * len(clips), RESAMPLES)
    drawn = (gap(np.einsum("rc,spck->rspk", of_clips, table)) * of_seeds).sum(1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))
