"""All that the page shows: rows with what checks said of them, where they come from, and what models said."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vidapt.cleaning.inputs import read_inputs
from vidapt.digests import seed_of
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter, silent
from vidapt.reviewing.made import Origin, Origins
from vidapt.reviewing.predictions import Place, Said, place_of, read_predictions
from vidapt.reviewing.rejected import Rejected, read_rejected

DRAWN = 50
"""Rows that checks kept and a person is shown nevertheless: without them, agreement has nothing to go by."""

_TOLD_EVERY = 5_000


@dataclass(frozen=True, slots=True)
class Item:
    """A row to look at.

    Attributes:
        sample: The row as it came.
        clips: Its clips, by their numbers in the book.
        verdict: What checks made of it.
        check: Which check; empty where it is kept as it came.
        reason: Why.
        now: As it was rewritten.
        origin: Where it comes from, if that is known.
        drawn: Whether it is one of the kept rows that are shown for comparison.
    """

    sample: Sample
    clips: tuple[int, ...]
    verdict: str = "keep"
    check: str = ""
    reason: str = ""
    now: Sample | None = None
    origin: Origin | None = None
    drawn: bool = False


@dataclass
class Book:
    """What there is to look at.

    Attributes:
        items: Rows, in their order; those that only the rejected file has stand behind the others.
        clips: Each once.
        rows_of: Rows of each clip, by number.
        said: What models said of each clip.
        notes: What a person should know of the files.
    """

    items: list[Item] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    rows_of: list[list[int]] = field(default_factory=list)
    said: dict[int, list[Said]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sources:
    """Which files are looked over.

    Attributes:
        labels: Label files of any format, or files of provenance.
        kind: Their format; told from their content if None.
        options: Of the format.
        provenance: Further files of provenance.
        rejected: What `vidapt clean` set aside of these labels.
        predictions: Captions, and folders of evaluations.
    """

    labels: Sequence[str | Path]
    kind: str | None = None
    options: Mapping[str, Any] | None = None
    provenance: Sequence[Path] = ()
    rejected: Path | None = None
    predictions: Sequence[Path] = ()


def open_book(sources: Sources, report: Reporter = silent) -> Book:
    """Read everything.

    Args:
        sources: Which files.
        report: Shows progress.

    Raises:
        FormatError: If a file is not there, or holds something else than it should.
        ConfigError: If the rejected rows are those of other labels.
    """
    inputs = read_inputs(sources.labels, sources.kind, sources.options, sources.provenance)
    rejected = Rejected() if sources.rejected is None else read_rejected(sources.rejected)
    book, origins = Book(), Origins(sources.provenance)
    if inputs.unsound:
        first = inputs.unsound[0]
        where = f"the first of them at {first.where}: {first.found}"
        book.notes.append(f"rows that are no labels: {len(inputs.unsound)}, {where}")
    samples = {one.id: one for one in inputs.samples}
    fates = rejected.of(samples)
    if (stale := len(rejected.fates) - len(fates)) > 0:
        book.notes.append(f"{stale} rejected rows are not those of these labels any more, and are left out")
    places: dict[Place, int] = {}
    for key, fate in fates.items():
        there = samples.get(key, fate.sample)
        samples[key] = replace(fate.sample, source=there.source)
    drawn = _drawn(samples.keys() - fates.keys())
    for number, sample in enumerate(samples.values()):
        if number % _TOLD_EVERY == 0:
            report("rows", number, len(samples))
        clips = tuple(_number(clip, places, book) for clip in sample.media)
        for clip in dict.fromkeys(clips):
            book.rows_of[clip].append(number)
        item = Item(sample, clips, drawn=sample.id in drawn)
        if (told := fates.get(sample.id)) is not None:
            item = replace(item, verdict=told.verdict, check=told.check, reason=told.reason, now=told.now)
        book.items.append(replace(item, origin=origins.of(sample)))
    report("rows", len(samples), len(samples))
    for path in sources.predictions:
        _take_predictions(path, places, book)
    return book


def _take_predictions(path: Path, places: Mapping[Place, int], book: Book) -> None:
    said = [(places[where], one) for where, one in read_predictions(path) if where in places]
    if not said:
        book.notes.append(f"{path} says nothing of these clips")
    for clip, one in said:
        book.said.setdefault(clip, []).append(one)


def _number(clip: Clip, places: dict[Place, int], book: Book) -> int:
    where = place_of(clip.path, clip.start_s, clip.end_s)
    if where not in places:
        places[where] = len(book.clips)
        book.clips.append(clip)
        book.rows_of.append([])
    return places[where]


def _drawn(kept: Iterable[str]) -> frozenset[str]:
    """Some rows, drawn by their ids: the same ones whenever they are asked for."""
    return frozenset(heapq.nsmallest(DRAWN, kept, key=lambda key: seed_of("review", key)))
