"""What is looked over, as a dataset of FiftyOne: a sample for each file, with a field for each model.

Texts are labels of the stretch of time that they name, or else of the stretch that their row is about.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vidapt.errors import BrokenClip, ConfigError
from vidapt.files import exists
from vidapt.formats import MEDIUMS, medium_of
from vidapt.looking_over.book import Book, open_book
from vidapt.looking_over.differ import answers_to, plain
from vidapt.looking_over.entries import Column, Item
from vidapt.looking_over.gather import Sources
from vidapt.looking_over.shapes import spans_of
from vidapt.progress import Reporter, silent
from vidapt.video import probe

FIELD = "label"
_TOGETHER = 200


def export(sources: Sources, name: str, report: Reporter = silent) -> int:
    """Make a dataset that stays in FiftyOne's database; nothing of the footage is copied.

    Args:
        sources: What is looked over.
        name: Of the dataset, which is new.
        report: Shows progress.

    Returns:
        How many files it has. Stills are left out where the first file is a video, and the other way round:
        a dataset of FiftyOne has media of one kind.

    Raises:
        ConfigError: If FiftyOne is not installed, there is such a dataset already, or no file is there.
        FormatError: If what is looked over cannot be read.
    """
    try:
        import fiftyone as fo
    except ImportError as error:
        raise ConfigError("--fiftyone", f"{error.name} is not installed", "pip install fiftyone") from None
    try:
        taken = fo.dataset_exists(name)
    except Exception as error:  # its database raises errors of several libraries
        told = f"its database cannot be used: {str(error).strip().partition(chr(10))[0]}"
        raise ConfigError("--fiftyone", told, "see `fiftyone config`") from error
    if taken:
        remedy = f"give another name, or `fiftyone datasets delete {name}`"
        raise ConfigError("--fiftyone", f"there is a dataset {name!r} already", remedy)
    book = open_book(sources, report)
    rows = _rows_by_file(book)
    kinds = [medium_of([book.clips[number]]) for number in range(len(book.clips))]
    media = next((kinds[clip] for clip in range(len(kinds)) if exists(book.clips[clip].path)), None)
    if media is None:
        raise ConfigError("--fiftyone", "none of the files is there", "name their folder by --media-root")
    chosen = {path: members for path, members in rows.items() if kinds[members[0].clips[0]] == media}
    make = partial(_still, fo, book) if MEDIUMS[media] == "image" else partial(_video, fo, book)
    dataset = fo.Dataset(name, persistent=True)
    try:
        return _fill(dataset, chosen, make, report)
    except BaseException:
        dataset.delete()  # half a dataset would pass for a whole one
        raise


def _fill(
    dataset: Any,
    rows: Mapping[Path, Sequence[Item]],
    make: Callable[[Path, Sequence[Item]], Any],
    report: Reporter,
) -> int:
    """Add a sample for each file that can be used; returns how many."""
    samples: list[Any] = []
    count = broken = 0
    for done, (path, members) in enumerate(rows.items(), 1):
        try:
            samples.append(make(path, members))
            count += 1
        except BrokenClip:
            broken += 1
        if len(samples) >= _TOGETHER or done == len(rows):
            dataset.add_samples(samples)
            samples = []
        report("fiftyone", done, len(rows), f"{broken} broken" if broken else "")
    return count


def _rows_by_file(book: Book) -> dict[Path, list[Item]]:
    found: dict[Path, list[Item]] = defaultdict(list)
    for item in book.items:
        if item.clips:
            found[item.sample.media[0].path].append(item)
    return found


def _still(fo: Any, book: Book, path: Path, members: Sequence[Item]) -> Any:
    if not exists(path):
        raise BrokenClip(path, "is not there")
    sample, fields = fo.Sample(filepath=str(path.absolute())), defaultdict[str, list[Any]](list)
    for _, field, text, more in _texts(members, book):
        fields[field].append(fo.Classification(label=text, **more))
    for field, labels in fields.items():
        sample[field] = fo.Classifications(classifications=labels)
    sample.tags = _tags(members)
    return sample


def _video(fo: Any, book: Book, path: Path, members: Sequence[Item]) -> Any:
    found = probe(path)
    sample, fields = fo.Sample(filepath=str(path.absolute())), defaultdict[str, list[Any]](list)
    frames = found.frames or max(1, round(found.duration_s * found.rate))
    sample.metadata = fo.VideoMetadata(
        size_bytes=path.stat().st_size,
        frame_width=found.width,
        frame_height=found.height,
        frame_rate=found.rate,
        total_frame_count=frames,
        duration=found.duration_s,
        encoding_str=found.codec,
    )
    for item, field, text, more in _texts(members, book):
        for span in _spans(text, item, found.duration_s):
            detection = fo.TemporalDetection.from_timestamps(list(span), sample=sample, label=text, **more)
            fields[field].append(detection)
    for field, labels in fields.items():
        sample[field] = fo.TemporalDetections(detections=labels)
    sample.tags = _tags(members)
    return sample


def _tags(members: Sequence[Item]) -> list[str]:
    return sorted({item.split for item in members if item.split})


def _texts(members: Sequence[Item], book: Book) -> Iterator[tuple[Item, str, str, dict[str, Any]]]:
    """Row, field, text, and what else is known of it: labels, answers to them, and what else models said."""
    names = dict(zip((one.name for one in book.columns), field_names(book.columns), strict=True))
    told: set[str] = set()
    for item in members:
        about = {"row": item.sample.id, "question": plain(item.sample.question)}
        if item.sample.answer:
            yield item, FIELD, item.sample.answer, {**about, "verdict": item.verdict, "check": item.check}
        for one in answers_to(item.sample, book.said(item.clips[0])):
            told.add(one.model)
            right = {} if one.right is None else {"right": one.right}
            yield item, names[one.model] + (f"_{one.arm}" if one.arm else ""), one.text, {**about, **right}
    for clip, item in {item.clips[0]: item for item in members}.items():  # such as captions
        for one in book.said(clip):
            if one.model not in told and not one.arm:
                yield item, names[one.model], one.text, {"row": "", "question": one.question}


def field_names(columns: Sequence[Column]) -> list[str]:
    """Names of fields for models: letters, digits and underscores, none of them twice."""
    found: list[str] = []
    for column in columns:
        name = "said_" + (re.sub(r"\W+", "_", column.name, flags=re.ASCII).strip("_").lower() or "model")
        found.append(name if name not in found else f"{name}_{len(found) + 1}")
    return found


def _spans(text: str, item: Item, duration: float) -> list[tuple[float, float]]:
    """Stretches that a text names within the file, or else that its row is about."""
    clip = item.sample.media[0]
    end = min(clip.end_s or duration, duration)
    named = [(first, min(last, duration)) for first, last in spans_of(text, clip.start_s) if first < duration]
    return named or [(min(clip.start_s, end), end)]
