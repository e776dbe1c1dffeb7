"""The tables of the study of adaptation: means over seeds, and paired differences with intervals."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _adapt_arms import SCALES
from _adapt_measures import read_measured
from _tables import Runs, crossed_interval, line, macro, percent, shown, write_between

from vidapt.files import write_json
from vidapt.metrics.intervals import Interval

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "adaptation.md"
RESULTS = ROOT / "benchmarks" / "results" / "adaptation_study.json"
BEGIN, END = "<!-- numbers: written by the study's `table` -->", "<!-- end of numbers -->"
SEEDS = 3
"""An arm with fewer is not told of."""

START = "start"

TITLES = {
    "a": "Which parts learn",
    "b": "How strong adapters are",
    "o": "The club in its own words",
    "c": "Kinds of label and venues, one after the other or mixed",
    "d": "Several right answers",
    "e": "Stills beside footage",
    "f": "Clips of several sizes",
}
SHOWN = {"a": ("club", "home"), "b": ("club", "home"), "c": ("own", "home"), "d": ("club",)}
SHOWN |= {"o": ("own", "home"), "e": ("club", "stills"), "f": ("club", "sizes")}

SIZED = ("30", "100", "300", "1000")
COMPARED: dict[str, list[tuple[str, str]]] = {
    "a": [
        *((f"language_{n}", START) for n in SIZED),
        *((f"everything_{n}", f"language_{n}") for n in SIZED),
        ("connector_300", "language_300"),
        ("language_connector_300", "language_300"),
        ("everything_300", "language_connector_300"),
        ("everything_slow_300", "everything_300"),
        ("language_300", "language_30"),
        ("everything_300", "everything_30"),
    ],
    "b": [
        ("lora@0", START),
        *((f"lora@{scale:g}", "lora@0") for scale in SCALES[1:]),
        ("lora@0.125", "lora@1"),
        ("lora@0.25", "lora@1"),
        ("lora@0.5", "lora@1"),
        ("lora@1", "language_connector_300"),
    ],
    "o": [
        ("own_language_connector", START),
        ("own_language", "own_language_connector"),
        ("own_everything", "own_language_connector"),
        ("own_everything", "own_language"),
        ("own_and_home", "own_language_connector"),
    ],
    "c": [
        ("home_then_own", "own_half"),
        ("own_and_home", "own_half"),
        ("own_and_home", "home_then_own"),
        ("texts_then_short", "own_half"),
        ("texts_and_short", "own_half"),
        ("texts_and_short", "texts_then_short"),
        ("own_language_connector", "own_half"),
    ],
    "d": [("references_2", "references_1"), ("references_4", "references_1")],
    "e": [("stills_mixed", "short_half"), ("stills_apart", "short_half"), ("stills_mixed", "stills_apart")],
    "f": [
        ("sizes_mixed", START),
        ("sizes_mixed", "sizes_large"),
        ("sizes_rising", "sizes_mixed"),
        ("sizes_unified", "sizes_mixed"),
    ],
}
"""Pairs of arms whose difference is told: the first less the second."""


def write_tables(runs: Path, questions: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Read what was measured, and write the page's numbers and the results file.

    Args:
        runs: Folder of the study.
        questions: Names of arms beside the letter of their question.
    """
    found = {name: read_measured(runs, name) for _, names in questions for name in names}
    found = {name: one for name, one in found.items() if len(one) >= SEEDS or name == START}
    begun = found[START][0]
    found[START] = dict.fromkeys({seed for one in found.values() for seed in one}, begun)
    by_letter: dict[str, list[str]] = defaultdict(list)
    for letter in ("a", "o"):
        by_letter[letter].append(START)
    for letter, names in questions:
        by_letter[letter] += [name for name in names if name in found and name != START]
    told = {letter: _compared(letter, found) for letter in TITLES}
    parts = [_controls(begun)]
    for letter, title in TITLES.items():
        if by_letter[letter]:
            means = _means(letter, by_letter[letter], found)
            parts.append(f"### {title}\n\n{means}\n\n{_differences(letter, told[letter])}")
    text = "\n\n".join(parts)
    write_between(PAGE, BEGIN, text, END)
    write_json(RESULTS, _results(found, told))
    print(text)


def unanswered(rows: Sequence[Sequence[Any]]) -> float:
    """Share of questions to which nothing was said."""
    return statistics.fmean(int(not row[4].strip()) for row in rows)


def _compared(
    letter: str, found: Mapping[str, Runs]
) -> list[tuple[str, str, int, dict[str, Interval | None]]]:
    """Differences of a question: the two arms, how many seeds, and by set."""
    told = []
    for name, base in COMPARED[letter]:
        if name in found and base in found:
            by_set = {which: crossed_interval(found[base], found[name], which) for which in SHOWN[letter]}
            told.append((name, base, len(found[base].keys() & found[name].keys()), by_set))
    return told


def _controls(begun: Mapping[str, Any]) -> str:
    lines = [
        "**What needs no looking**: the start asked without the clip, and the most common answer.",
        "",
        line(["set", "clips", "questions", "start", "start, blind", "majority"]),
        line(["---"] * 6),
    ]
    for which, rows in begun["sets"].items():
        numbers = [f"{100 * macro(rows, arm):.1f}" for arm in ("model", "blind", "majority")]
        lines.append(line([which, str(len({row[1] for row in rows})), str(len(rows)), *numbers]))
    return "\n".join(lines)


def _means(letter: str, names: Sequence[str], found: Mapping[str, Runs]) -> str:
    """Accuracy of every arm, what it says blind, empty answers, and what it takes to train."""
    sets = SHOWN[letter]
    head = ["arm", "seeds", *sets, "blind", "no answer"]
    lines = [line([*head, "CPU s"]), line(["---"] * (len(head) + 1))]
    for name in names:
        runs = found[name]
        seeds = [runs[0]] if name == START else list(runs.values())
        cells = [_of_set(seeds, which) for which in sets]
        cells.append(_of_set(seeds, sets[0], "blind"))
        cells.append(percent([unanswered(one["sets"][sets[0]]) for one in seeds]))
        took = [one["cpu_seconds"] for one in seeds if "cpu_seconds" in one and not one["reused"]]
        cells.append(f"{statistics.median(took):.0f}" if took else "-")
        lines.append(line([f"`{name}`", str(len(seeds)), *cells]))
    return "\n".join(lines)


def _of_set(seeds: Sequence[Mapping[str, Any]], which: str, arm: str = "model") -> str:
    asked = [one["sets"][which] for one in seeds if which in one["sets"]]
    asked = [rows for rows in asked if arm in rows[0][3]]
    return percent([macro(rows, arm) for rows in asked]) if asked else "-"


def _differences(letter: str, told: Sequence[tuple[str, str, int, dict[str, Interval | None]]]) -> str:
    head = ["difference, points", "seeds", *SHOWN[letter]]
    lines = [line(head), line(["---"] * len(head))]
    for name, base, seeds, by_set in told:
        cells = [f"`{name}` − `{base}`", str(seeds), *map(shown, by_set.values())]
        lines.append(line(cells))
    return "\n".join(lines)


def _results(
    found: Mapping[str, Runs], told: Mapping[str, Sequence[tuple[str, str, int, dict[str, Interval | None]]]]
) -> dict[str, Any]:
    arms = {
        name: {
            which: {
                str(seed): {arm: round(macro(one["sets"][which], arm), 5) for arm in one["sets"][which][0][3]}
                for seed, one in runs.items()
            }
            for which in next(iter(runs.values()))["sets"]
        }
        for name, runs in found.items()
    }
    differences = {
        f"{name} - {base}": {
            which: [round(x, 5) for x in (one.value, one.low, one.high)]
            for which, one in by_set.items()
            if one is not None
        }
        for letter in told
        for name, base, _, by_set in told[letter]
    }
    return {"accuracy": arms, "differences": differences}
