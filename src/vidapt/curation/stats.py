"""What is in a data set, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidapt.curation.footage import first_rows
from vidapt.errors import BrokenClip, FormatError
from vidapt.formats import MEDIUMS, each_sample, medium_of
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter, silent
from vidapt.video import probe

_SHARES = (0, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True)
class Histogram:
    """How some numbers are distributed.

    Attributes:
        count: How many there are.
        mean: Their mean.
        percentiles: By name (`p50`): the number below which so many percent lie.
        edges: Ends of the bins.
        bins: How many numbers are in each.
    """

    count: int
    mean: float
    percentiles: Mapping[str, float]
    edges: Sequence[float]
    bins: Sequence[int]


@dataclass(frozen=True)
class Stats:
    """What is in a data set.

    Attributes:
        rows: Sound rows.
        unsound: Rows that cannot be used; `check` says why.
        clips: Different clips.
        media: Rows by the kind of their media.
        types: Rows by the question type their labels say.
        sizes: Clips by `WIDTHxHEIGHT`.
        questions: Per row.
        per_clip: Rows per clip.
        asked: Length of what is asked, in `unit`.
        answered: Length of what is answered, in `unit`.
        seconds: Length of clips; None if they were not looked at.
        unit: `letters`, or `tokens` of a model.
    """

    rows: int
    unsound: int
    clips: int
    media: Mapping[str, int]
    types: Mapping[str, int]
    sizes: Mapping[str, int]
    questions: Histogram | None
    per_clip: Histogram | None
    asked: Histogram | None
    answered: Histogram | None
    seconds: Histogram | None
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def stats(
    files: Sequence[str | Path],
    *,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    length_of: Callable[[str], int] | None = None,
    look: bool = True,
    report: Reporter = silent,
) -> Stats:
    """Count what is in label files.

    Args:
        files: Label files, folders or patterns.
        kind: Their format; told from each file's content if None.
        options: Options of the format.
        length_of: Tokens of a text; None counts letters.
        look: Whether clips' headers are read.
        report: Shows progress.
    """
    found = [one for file in files for one in each_sample(file, kind, **(options or {}))]
    samples = [one for one in found if not isinstance(one, FormatError)]
    clips = first_rows(samples)
    measure = len if length_of is None else length_of
    sizes, seconds = _looked_at(list(clips), report) if look else ({}, None)
    return Stats(
        rows=len(samples),
        unsound=len(found) - len(samples),
        clips=len(clips),
        media=_ranked(MEDIUMS[medium_of(sample.media)] for sample in samples),
        types=_ranked(str(sample.facts.get("type") or "") for sample in samples),
        sizes=sizes,
        questions=histogram(sum(turn.role == "user" for turn in sample.turns) for sample in samples),
        per_clip=histogram(_per_clip(samples).values()),
        asked=histogram(measure(t.text) for s in samples for t in s.turns if t.role == "user"),
        answered=histogram(measure(t.text) for s in samples for t in s.turns if t.role == "assistant"),
        seconds=seconds,
        unit="letters" if length_of is None else "tokens",
    )


def tokens_of(model: str) -> Callable[[str], int]:
    """What counts the tokens of a text as a model's tokenizer has them.

    Raises:
        CheckpointError: If there is no such model.
    """
    from vidapt.loading import open_model

    tokenizer = open_model(model)[1]
    return lambda text: len(tokenizer(text, add_special_tokens=False).input_ids)


def histogram(numbers: Iterable[float], bins: int = 10) -> Histogram | None:
    """How numbers are distributed; None if there are none."""
    values = np.array(list(numbers), np.float64)
    if not len(values):
        return None
    counts, edges = np.histogram(values, bins)
    marks = np.percentile(values, _SHARES)
    named = {f"p{share}": round(float(mark), 3) for share, mark in zip(_SHARES, marks, strict=True)}
    ends = [round(float(edge), 3) for edge in edges]
    return Histogram(len(values), round(float(values.mean()), 3), named, ends, counts.tolist())


def _ranked(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _per_clip(samples: Iterable[Sample]) -> Counter[Any]:
    return Counter((clip.path, clip.start_s, clip.end_s) for sample in samples for clip in sample.media)


def _looked_at(clips: Sequence[Clip], report: Reporter) -> tuple[dict[str, int], Histogram | None]:
    sizes: Counter[str] = Counter()
    seconds: list[float] = []
    for done, clip in enumerate(clips, 1):
        try:
            described = probe(clip.path, rate=clip.rate)
        except BrokenClip:
            sizes["cannot be read"] += 1
            continue
        sizes[f"{described.width}x{described.height}"] += 1
        end = described.duration_s if clip.end_s is None else min(clip.end_s, described.duration_s)
        seconds.append(max(0.0, end - clip.start_s))
        report("look at clips", done, len(clips))
    return dict(sizes.most_common()), histogram(seconds)
