"""Dividing a data set so that nothing of the held-out part is in the part that is learned from.

Clips are tied together by their file, by their session, by equal content and by nearly equal frames; what
hangs together stays together. Held-out numbers of a data set that was divided row by row say how well it is
remembered.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidapt.curation.footage import first_rows
from vidapt.curation.likeness import Signatures, nearest
from vidapt.curation.ties import tie
from vidapt.errors import ConfigError
from vidapt.formats import check as check_samples
from vidapt.formats import open_samples
from vidapt.formats.vidapt_jsonl import write
from vidapt.nouns import Sample
from vidapt.progress import Reporter, silent

RATIOS: Mapping[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}

_TOLD = 10


@dataclass(frozen=True)
class Part:
    """One part of a divided data set.

    Attributes:
        file: Where it was written.
        rows: Its rows.
        clips: Its clips.
        groups: Groups of clips that hang together.
    """

    file: str
    rows: int
    clips: int
    groups: int


@dataclass(frozen=True)
class Neighbour:
    """A held-out clip and what is most like it of what is learned from; likeness is 1 for the same frames."""

    clip: str
    part: str
    nearest: str
    likeness: float


@dataclass(frozen=True)
class Split:
    """How a data set was divided.

    Attributes:
        parts: By name.
        ties: How many pairs of clips each reason tied together.
        sessions: What counts as a session, in words.
        neighbours: The held-out clips that are most like one of `train`, the most alike first.
        seed: What decided where groups went.
    """

    parts: Mapping[str, Part]
    ties: Mapping[str, int]
    sessions: str
    neighbours: Sequence[Neighbour]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def split(
    files: Sequence[str | Path],
    out: Path,
    *,
    ratios: Mapping[str, float] = RATIOS,
    by: str | None = None,
    seed: int = 0,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    frames: bool = True,
    workers: int | None = None,
    report: Reporter = silent,
) -> Split:
    """Divide label files and write each part as `NAME.jsonl` in vidapt's own rows.

    Args:
        files: Label files, folders or patterns.
        out: Folder to write to.
        ratios: Share of the rows that each part is to have; `train` is what others are compared with.
        by: A regular expression for a clip's path; clips for which it finds the same (its first group, if it
            has one) are of one session. `file` takes each file for a session; None takes folders where there
            are at least ten of them and none has most of the clips, else files.
        seed: Decides which groups go where.
        kind: Format of the files; told from their content if None.
        options: Options of the format.
        frames: Tie clips together that show nearly the same.
        workers: Decoding processes; None is one per core.
        report: Shows progress.

    Raises:
        ConfigError: If ratios or the pattern make no sense, or all clips hang together.
        FormatError: If the labels are unsound or media are missing.
    """
    _check_ratios(ratios)
    samples = [sample for file in files for sample in open_samples(file, kind, **(options or {}))]
    check_samples(samples)
    count = os.cpu_count() or 1 if workers is None else workers
    found = tie(samples, by=by, frames=frames, workers=count, report=report)
    groups = found.groups
    homes = dealt(groups, ratios, seed)
    parts = _written(samples, groups, homes, ratios, out)
    alike = found.signatures
    neighbours = [] if alike is None else _neighbours(samples, groups, homes, alike)
    return Split(parts, found.ties, found.sessions, neighbours[:_TOLD], seed)


def homes_of(
    samples: Sequence[Sample],
    ratios: Mapping[str, float],
    *,
    by: str | None = None,
    seed: int = 0,
    frames: bool = True,
    workers: int | None = None,
    report: Reporter = silent,
) -> list[str]:
    """The part that every sample goes to, as `split` divides; nothing is written.

    Args:
        samples: Their media are there.
        ratios: As `split` has them, as are all others.
        by: What tells sessions.
        seed: Decides which groups go where.
        frames: Tie clips together that show nearly the same.
        workers: Decoding processes; None is one per core.
        report: Shows progress.

    Raises:
        ConfigError: If ratios or the pattern make no sense, or all clips hang together.
    """
    _check_ratios(ratios)
    count = os.cpu_count() or 1 if workers is None else workers
    groups = tie(samples, by=by, frames=frames, workers=count, report=report).groups
    homes = dealt(groups, ratios, seed)
    return [homes[group] for group in groups]


def _check_ratios(ratios: Mapping[str, float]) -> None:
    whole = sum(ratios.values())
    if len(ratios) < 2 or any(share <= 0 for share in ratios.values()) or not np.isfinite(whole):
        raise ConfigError(
            "ratios", f"{dict(ratios)} divide nothing", "give at least two parts, each with a share above 0"
        )
    wrong = [name for name in ratios if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name)]
    if wrong:
        raise ConfigError("ratios", f"{wrong[0]!r} is no name of a file", "use letters and digits")


def dealt(groups: Sequence[int], ratios: Mapping[str, float], seed: int) -> dict[int, str]:
    """Where each group goes: the largest first, each to the part that lacks most; seeds decide among equals.

    Raises:
        ConfigError: If there are fewer groups than parts.
    """
    sizes = Counter(groups)
    if len(sizes) < len(ratios):
        raise ConfigError(
            "split",
            f"all clips hang together in {len(sizes)} group(s), and {len(ratios)} parts are wanted",
            "add clips of other sessions, or give a narrower `by`",
        )
    order = np.random.default_rng(seed).permutation(sorted(sizes)).tolist()
    order.sort(key=lambda group: -sizes[group])
    whole, total = sum(ratios.values()), len(groups)
    lacking = {name: share / whole * total for name, share in ratios.items()}
    homes: dict[int, str] = {}
    for at, group in enumerate(order):
        empty = [name for name in ratios if name not in homes.values()]
        # The last groups are the smallest, and no part may stay empty.
        choice = empty if len(empty) == len(order) - at else list(ratios)
        name = max(choice, key=lambda one: lacking[one])
        homes[group] = name
        lacking[name] -= sizes[group]
    return homes


def _written(
    samples: Sequence[Sample],
    groups: Sequence[int],
    homes: Mapping[int, str],
    ratios: Mapping[str, float],
    out: Path,
) -> dict[str, Part]:
    members: dict[str, list[Sample]] = defaultdict(list)
    taken: Counter[str] = Counter()
    for sample, group in zip(samples, groups, strict=True):
        taken[sample.id] += 1
        members[homes[group]].append(_named_apart(sample, taken[sample.id]))
    out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Part] = {}
    for name in ratios:
        file = out / f"{name}.jsonl"
        rows = write(file, members[name])
        inside = sum(home == name for home in homes.values())
        parts[name] = Part(str(file), rows, len(first_rows(members[name])), inside)
    return parts


def _named_apart(sample: Sample, use: int) -> Sample:
    return sample if use == 1 else replace(sample, id=f"{sample.id}#{use}")


def _neighbours(
    samples: Sequence[Sample], groups: Sequence[int], homes: Mapping[int, str], found: Signatures
) -> list[Neighbour]:
    """What is most like held-out clips of what is learned from, whether or not it is alike."""
    parts: dict[str, list[Sample]] = defaultdict(list)
    for sample, group in zip(samples, groups, strict=True):
        parts[homes[group]].append(sample)
    learned = "train" if "train" in parts else next(iter(parts))
    known = first_rows(parts.pop(learned))
    pairs = [
        Neighbour(str(clip.path), name, str(other.path), like)
        for name, some in parts.items()
        for clip, other, like in nearest(first_rows(some), known, found)
    ]
    return sorted(pairs, key=lambda pair: -pair.likeness)
