"""All that is looked over, read once: labels, what checks and teachers said of them, what models said."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vidapt.cleaning.captions import is_captions
from vidapt.cleaning.inputs import PROVENANCE, read_inputs
from vidapt.digests import seed_of
from vidapt.errors import FormatError
from vidapt.files import exists
from vidapt.formats import detect, frozen, shards_of
from vidapt.looking_over.differ import answers_to, differences
from vidapt.looking_over.entries import Column, Item, Place, Said, place_of
from vidapt.looking_over.made import Origins
from vidapt.looking_over.rejected import Rejected, read_rejected
from vidapt.looking_over.runs import Answers, find_runs
from vidapt.nouns import MEDIA, Clip, Sample
from vidapt.progress import Reporter, silent

DRAWN = 50
"""Rows that checks kept and a person is shown nevertheless: without them, agreement has nothing to go by."""

_TOLD_EVERY = 5_000
_LABELS = (".jsonl", ".ndjson", ".parquet")
_BESIDE = (".rejected.jsonl", ".decisions.jsonl", PROVENANCE, ".quarantine.jsonl", ".blind.jsonl")


@dataclass(frozen=True)
class Sources:
    """What is looked over.

    Attributes:
        labels: Label files of any format, frozen versions, folders of label files, or files of provenance.
        kind: Their format; told from their content if None.
        options: Of the format.
        provenance: Further files of provenance.
        rejected: What `vidapt clean` set aside of these labels.
        runs: Captions, files of answers, evaluations, and folders with such ones; see `runs.find_runs`.
    """

    labels: Sequence[str | Path]
    kind: str | None = None
    options: Mapping[str, Any] | None = None
    provenance: Sequence[Path] = ()
    rejected: Path | None = None
    runs: Sequence[str | Path] = ()

    @cached_property
    def files(self) -> list[Path]:
        """The label files; folders of such ones, and patterns, by what they name.

        Raises:
            FormatError: If one is not there.
        """
        return [file for one in self.labels for file in label_files(Path(one))]

    @property
    def read_as(self) -> tuple[str | None, Mapping[str, Any]]:
        """Format and options; clips in folders need no labels to be looked at."""
        options = dict(self.options or {})
        if self.kind in (None, "folder") and all(file.is_dir() for file in self.files):
            return "folder", {"allow_unlabelled": True, "allow_stray_texts": True, **options}
        return self.kind, options


@dataclass
class Gathered:
    """What was read.

    Attributes:
        items: Rows, in their order; those that only the rejected file has stand behind the others.
        clips: Each once.
        rows_of: Rows of each clip, by number.
        said: What models said of each clip.
        columns: Models, in the order in which they were named.
        notes: What a person should know of the files.
    """

    items: list[Item] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    rows_of: list[list[int]] = field(default_factory=list)
    said: dict[int, list[Said]] = field(default_factory=dict)
    columns: list[Column] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def label_files(path: Path) -> list[Path]:
    """What a path names: the label files in it where it is a folder of such, else `shards_of`.

    Raises:
        FormatError: If there is nothing.
    """
    if exists(path) and path.is_dir() and frozen(path) is None:
        found = [file for file in sorted(path.iterdir()) if _is_labels(file)]
        if found:
            return found
    return shards_of(path)


def _is_labels(path: Path) -> bool:
    """Whether a file of a folder holds labels, by its first rows: others may stand beside them."""
    if path.suffix.lower() not in _LABELS or path.name.endswith(_BESIDE) or not path.is_file():
        return False
    try:
        return is_captions(path) or bool(detect(path))
    except FormatError:
        return False


def gather(sources: Sources, report: Reporter = silent) -> Gathered:
    """Read everything.

    Args:
        sources: Which files.
        report: Shows progress.

    Raises:
        FormatError: If a file is not there, or holds something else than it should.
        ConfigError: If the rejected rows are those of other labels.
    """
    answers = [Answers(name, path) for name, path in find_runs(sources.runs)]
    inputs = read_inputs(sources.files, *sources.read_as, sources.provenance)
    rejected = Rejected() if sources.rejected is None else read_rejected(sources.rejected)
    found, origins = Gathered(), Origins(sources.provenance)
    if inputs.unsound:
        first = inputs.unsound[0]
        where = f"the first of them at {first.where}: {first.found}"
        found.notes.append(f"rows that are no labels: {len(inputs.unsound)}, {where}")
    samples = {one.id: one for one in inputs.samples}
    fates = rejected.of(samples)
    if (stale := len(rejected.fates) - len(fates)) > 0:
        found.notes.append(f"{stale} rejected rows are not those of these labels any more, and are left out")
    places: dict[Place, int] = {}
    for key, fate in fates.items():
        there = samples.get(key, fate.sample)
        samples[key] = replace(fate.sample, source=there.source)
    drawn = _drawn(samples.keys() - fates.keys())
    for number, sample in enumerate(samples.values()):
        if number % _TOLD_EVERY == 0:
            report("rows", number, len(samples))
        clips = tuple(_number(clip, places, found) for clip in sample.media)
        for clip in dict.fromkeys(clips):
            found.rows_of[clip].append(number)
        item = Item(sample, clips, drawn=sample.id in drawn, split=_split(sample))
        if (told := fates.get(sample.id)) is not None:
            item = replace(item, verdict=told.verdict, check=told.check, reason=told.reason, now=told.now)
        found.items.append(replace(item, origin=origins.of(sample)))
    report("rows", len(samples), len(samples))
    for one in answers:
        _take_answers(one, places, found)
    _compare(found, report)
    return found


def _split(sample: Sample) -> str:
    """Which part of the data a row says it is in, or else the name of its file."""
    stated = sample.facts.get("split")
    return stated if isinstance(stated, str) else Path(sample.source.rpartition(":")[0]).stem


def _take_answers(answers: Answers, places: Mapping[Place, int], found: Gathered) -> None:
    found.columns.append(answers.column)
    said = [(places[where], one) for where, one in answers.by_clip() if where in places]
    if by_id := answers.by_id():
        for item in found.items:
            text = by_id.get(item.sample.id)
            if text is not None and item.clips:
                question = item.sample.question.replace(MEDIA, " ").strip()
                one = Said(model=answers.column.name, question=question, text=text, sample=item.sample.id)
                said.append((item.clips[0], one))
    if not said:
        found.notes.append(f"{answers.column.place} says nothing of these clips")
    for clip, one in said:
        found.said.setdefault(clip, []).append(one)


def _compare(found: Gathered, report: Reporter) -> None:
    """Tell of every row in what models, labels and answers differ about it."""
    alike: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, item in enumerate(found.items):
        if item.clips:
            alike[item.clips[0], item.sample.question].append(number)
    for numbers in alike.values():
        asked_alike = [found.items[number].sample for number in numbers]
        said = found.said.get(found.items[numbers[0]].clips[0], [])
        for number in numbers:
            item = found.items[number]
            told = differences(item.sample, asked_alike, answers_to(item.sample, said))
            if told:
                found.items[number] = replace(item, differ=told)
            if number % _TOLD_EVERY == 0:
                report("compare", number, len(found.items))


def _number(clip: Clip, places: dict[Place, int], found: Gathered) -> int:
    where = place_of(clip.path, clip.start_s, clip.end_s)
    if where not in places:
        places[where] = len(found.clips)
        found.clips.append(clip)
        found.rows_of.append([])
    return places[where]


def _drawn(kept: Iterable[str]) -> frozenset[str]:
    """Some rows, drawn by their ids: the same ones whenever they are asked for."""
    return frozenset(heapq.nsmallest(DRAWN, kept, key=lambda key: seed_of("review", key)))
