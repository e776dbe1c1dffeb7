"""Tables of the studies: means over seeds, paired differences with intervals, and pages that hold them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidapt.files import write_text
from vidapt.metrics.intervals import LEVEL, Interval

RESAMPLES = 4000

Runs = Mapping[int, Mapping[str, Any]]
"""What was measured of an arm, by seed: under `sets` rows of sample, clip, type, right by arm, answer."""


def write_between(page: Path, begin: str, text: str, end: str) -> None:
    """Put a text between two marks of a page, in place of what stands there."""
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, tail = rest.partition(end)
    write_text(page, f"{head}{begin}\n\n{text}\n\n{end}{tail}")


def macro(rows: Iterable[Sequence[Any]], arm: str = "model") -> float:
    """Mean over types of question of the share of right answers."""
    types: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        types[row[2]].append(row[3][arm])
    return statistics.fmean(statistics.fmean(values) for values in types.values())


def crossed_interval(before: Runs, after: Runs, which: str) -> Interval | None:
    """By how much the mean over types of one set differs, over the seeds that both have.

    Both seeds and clips are drawn anew (a clip with its answers of all the seeds that were drawn), since a
    difference that one seed or some clips make is none.
    """
    seeds = sorted(before.keys() & after.keys())
    pairs = [(before[s]["sets"].get(which), after[s]["sets"].get(which)) for s in seeds]
    if not pairs or any(one is None or other is None for one, other in pairs):
        return None
    clips = {clip: at for at, clip in enumerate(dict.fromkeys(row[1] for row in pairs[0][0]))}
    types = {kind: at for at, kind in enumerate(dict.fromkeys(row[2] for row in pairs[0][0]))}
    gains = np.zeros((len(pairs), len(clips), len(types)))
    asked = np.zeros((len(clips), len(types)))
    for seed, (one, other) in enumerate(pairs):
        for old, new in zip(one, other, strict=True):
            assert old[0] == new[0]
            gains[seed, clips[old[1]], types[old[2]]] += new[3]["model"] - old[3]["model"]
    for row in pairs[0][0]:
        asked[clips[row[1]], types[row[2]]] += 1
    value = float((gains.mean(0).sum(0) / asked.sum(0)).mean())
    rng = np.random.default_rng(0)
    of_seeds = rng.multinomial(len(pairs), [1 / len(pairs)] * len(pairs), RESAMPLES) / len(pairs)
    of_clips = rng.multinomial(len(clips), [1 / len(clips)] * len(clips), RESAMPLES)
    tops = np.einsum("rs,rst->rt", of_seeds, np.einsum("rc,sct->rst", of_clips, gains))
    bottoms = of_clips @ asked
    with np.errstate(invalid="ignore"):
        drawn = np.nanmean(tops / np.where(bottoms > 0, bottoms, np.nan), axis=1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))


def line(cells: Iterable[str]) -> str:
    """A row of a table."""
    return "| " + " | ".join(cells) + " |"


def percent(values: Sequence[float]) -> str:
    """Mean, and the standard deviation where there are several."""
    spread = f" ({100 * statistics.stdev(values):.1f})" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread}"


def shown(found: Interval | None) -> str:
    """A difference in points, bold where its interval excludes zero."""
    if found is None:
        return "-"
    text = f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"**{text}**" if found.excludes_zero() else text
