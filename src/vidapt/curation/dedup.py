"""Clips that show what another one shows are set aside: what is seen twice is learned twice.

Of clips that are alike, the one with most rows is kept, of equals the first. A clip is held against kept ones
only, so that a chain of clips of which each is like the next does not shrink to one. Nothing is deleted: rows
of what is set aside stand in a file of their own, with what they are like.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from vidapt.curation.footage import contents, first_rows
from vidapt.curation.likeness import ALIKE, Embedded, near, near_vectors, signatures
from vidapt.errors import ConfigError
from vidapt.files import check_file
from vidapt.formats import check as check_samples
from vidapt.formats import open_samples
from vidapt.formats.vidapt_jsonl import write
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter, silent

EMBEDDED = 0.98
"""Cosine of two vectors from which on clips are taken for near-duplicates."""


class Embed(Protocol):
    """Makes vectors of clips."""

    def __call__(self, clips: Sequence[Clip], report: Reporter) -> Embedded:
        """Vectors of those that can be seen."""
        ...


@dataclass(frozen=True)
class Twin:
    """A clip that is set aside.

    Attributes:
        clip: Its path.
        like: Path of the kept clip that it is like.
        likeness: How much; 1 of equal content.
        rows: Its rows.
    """

    clip: str
    like: str
    likeness: float
    rows: int


@dataclass(frozen=True)
class Deduped:
    """What was kept.

    Attributes:
        file: Rows that are kept.
        aside: Rows that are not; `facts.like` says what their clip is like.
        rows: How many are kept.
        clips: Clips that are kept.
        twins: Those that are not, the most alike first.
    """

    file: str
    aside: str
    rows: int
    clips: int
    twins: Sequence[Twin]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def dedup(
    files: Sequence[str | Path],
    out: Path,
    *,
    above: float = ALIKE,
    embed: Embed | None = None,
    embedded_above: float = EMBEDDED,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    frames: bool = True,
    workers: int | None = None,
    report: Reporter = silent,
) -> Deduped:
    """Write labels without those of clips that show what another clip shows.

    A row about several clips is set aside if all of them are; rows of text alone are kept.

    Args:
        files: Label files, folders or patterns.
        out: Where kept rows go, as vidapt's own; the others lie beside it as `NAME.aside.jsonl`.
        above: Likeness from which on clips are near-duplicates, of at most 1.
        embed: Makes vectors of clips, to find those that a model takes for the same (`inference.embed`).
        embedded_above: Cosine of vectors from which on clips are near-duplicates.
        kind: Format of the files; told from their content if None.
        options: Options of the format.
        frames: Compare what clips show; else only their content, byte by byte.
        workers: Decoding processes; None is one per core.
        report: Shows progress.

    Raises:
        ConfigError: If `above` is no likeness, or `out` cannot be written.
        FormatError: If the labels are unsound or media are missing.
    """
    for name, value in (("above", above), ("embedded-above", embedded_above)):
        if not 0 < value <= 1:
            raise ConfigError(name, f"{value} is no likeness", "give a number above 0, of at most 1")
    check_file(out)
    samples = [sample for file in files for sample in open_samples(file, kind, **(options or {}))]
    check_samples(samples)
    clips = list(first_rows(samples))
    pairs = _equal(clips)
    if frames:
        found = signatures(clips, os.cpu_count() or 1 if workers is None else workers, report)
        pairs += [(found.clips[a], found.clips[b], like) for a, b, like in near(found, above)]
    if embed is not None:
        seen = embed(clips, report)
        pairs += [(seen.clips[a], seen.clips[b], like) for a, b, like in near_vectors(seen, embedded_above)]
    rows = Counter(_key(clip) for sample in samples for clip in sample.media)
    twins = _twins(clips, pairs, rows)
    kept, aside = _divided(samples, twins)
    beside = out.with_name(f"{out.stem}.aside.jsonl")
    write(beside, aside)
    written = write(out, kept)
    told = [
        Twin(str(clip.path), str(twins[_key(clip)][0].path), twins[_key(clip)][1], rows[_key(clip)])
        for clip in clips
        if _key(clip) in twins
    ]
    told.sort(key=lambda twin: -twin.likeness)
    return Deduped(str(out), str(beside), written, len(clips) - len(told), told)


_Key = tuple[Path, float, float | None]
_Pair = tuple[Clip, Clip, float]


def _key(clip: Clip) -> _Key:
    return clip.path, clip.start_s, clip.end_s


def _equal(clips: Sequence[Clip]) -> list[_Pair]:
    """Clips that are the same stretch of files of equal content."""
    content = contents(list(dict.fromkeys(clip.path for clip in clips)))
    first: dict[tuple[str, float, float | None], Clip] = {}
    pairs = []
    for clip in clips:
        name = content.get(clip.path, str(clip.path)), clip.start_s, clip.end_s
        if first.setdefault(name, clip) is not clip:
            pairs.append((first[name], clip, 1.0))
    return pairs


def _twins(
    clips: Sequence[Clip], pairs: Sequence[_Pair], rows: Mapping[_Key, int]
) -> dict[_Key, tuple[Clip, float]]:
    """For each clip that is set aside, the kept one that it is most like, and how much."""
    alike: dict[_Key, list[tuple[Clip, float]]] = defaultdict(list)
    for left, right, like in pairs:
        alike[_key(left)].append((right, like))
        alike[_key(right)].append((left, like))
    kept: set[_Key] = set()
    twins: dict[_Key, tuple[Clip, float]] = {}
    for clip in sorted(clips, key=lambda clip: -rows[_key(clip)]):
        models = [one for one in alike[_key(clip)] if _key(one[0]) in kept]
        if models:
            twins[_key(clip)] = max(models, key=lambda one: one[1])
        else:
            kept.add(_key(clip))
    return twins


def _divided(
    samples: Sequence[Sample], twins: Mapping[_Key, tuple[Clip, float]]
) -> tuple[list[Sample], list[Sample]]:
    """Rows that are kept, and rows that are not."""
    kept, aside = [], []
    for sample in samples:
        if sample.media and all(_key(clip) in twins for clip in sample.media):
            like, how = twins[_key(sample.media[0])]
            facts = {**sample.facts, "like": str(like.path), "likeness": how}
            aside.append(replace(sample, facts=facts))
        else:
            kept.append(sample)
    return kept, aside
