"""What is looked over, as a dataset of FiftyOne: a sample for each file, with a field for each model.

Texts are labels of the stretch of time that they name, or else of the stretch that their row is about.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError
from vidapt.files import exists
from vidapt.formats import MEDIUMS, medium_of
from vidapt.looking_over.book import Book, open_book
from vidapt.looking_over.differ import answers_to, plain
from vidapt.looking_over.entries import Item
from vidapt.looking_over.gather import Sources
from vidapt.looking_over.shapes import spans_of
from vidapt.progress import Reporter, silent

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
    if fo.dataset_exists(name):
        remedy = f"give another name, or `fiftyone datasets delete {name}`"
        raise ConfigError("--fiftyone", f"there is a dataset {name!r} already", remedy)
    book = open_book(sources, report)
    rows = _rows_by_file(book)
    kinds = [medium_of([book.clips[number]]) for number in range(len(book.clips))]
    media = next((kinds[clip] for clip in range(len(kinds)) if exists(book.clips[clip].path)), None)
    if media is None:
        raise ConfigError("--fiftyone", "none of the files is there", "name their folder by --media-root")
    samples: list[Any] = []
    dataset = fo.Dataset(name, persistent=True)
    try:
        count = 0
        for done, (path, members) in enumerate(rows.items(), 1):
            report("fiftyone", done, len(rows))
            if exists(path) and kinds[members[0].clips[0]] == media:
                samples.append(_sample(fo, path, members, book, still=MEDIUMS[media] == "image"))
                count += 1
            if len(samples) >= _TOGETHER or done == len(rows):
                dataset.add_samples(samples)
                samples = []
    except BaseException:
        dataset.delete()  # half a dataset would pass for a whole one
        raise
    return count


def _rows_by_file(book: Book) -> dict[Path, list[Item]]:
    found: dict[Path, list[Item]] = defaultdict(list)
    for item in book.items:
        if item.clips:
            found[item.sample.media[0].path].append(item)
    return found


def _sample(fo: Any, path: Path, members: Sequence[Item], book: Book, *, still: bool) -> Any:
    sample = fo.Sample(filepath=str(path.absolute()))
    fields: dict[str, list[Any]] = defaultdict(list)
    if still:
        make: Callable[..., list[Any]] = lambda text, item, **more: [fo.Classification(label=text, **more)]  # noqa: E731
    else:
        sample.compute_metadata()

        def make(text: str, item: Item, **more: Any) -> list[Any]:
            return [
                fo.TemporalDetection.from_timestamps(list(span), sample=sample, label=text, **more)
                for span in _spans(text, item, sample.metadata.duration)
            ]

    for item in members:
        for field, text, more in _texts(item, book):
            fields[field] += make(
                text, item, row=item.sample.id, question=plain(item.sample.question), **more
            )
    for field, labels in fields.items():
        sample[field] = (
            fo.Classifications(classifications=labels) if still else fo.TemporalDetections(detections=labels)
        )
    sample.tags = sorted({item.split for item in members if item.split})
    return sample


def _texts(item: Item, book: Book) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Field, text, and what else is known of it."""
    if item.sample.answer:
        yield FIELD, item.sample.answer, {"verdict": item.verdict, "check": item.check}
    own = answers_to(item.sample, book.said(item.clips[0]))
    names = field_names([column.name for column in book.columns])
    for column, name in zip(book.columns, names, strict=True):
        for one in own:
            if one.model == column.name and one.text:
                right = {} if one.right is None else {"right": one.right}
                yield name + (f"_{one.arm}" if one.arm else ""), one.text, right


def field_names(columns: Sequence[str]) -> list[str]:
    """Names of fields for models: letters, digits and underscores, none of them twice."""
    found: list[str] = []
    for column in columns:
        name = "said_" + (re.sub(r"\W+", "_", column, flags=re.ASCII).strip("_").lower() or "model")
        found.append(name if name not in found else f"{name}_{len(found) + 1}")
    return found


def _spans(text: str, item: Item, duration: float) -> list[tuple[float, float]]:
    """Stretches that a text names within the file, or else that its row is about."""
    clip = item.sample.media[0]
    end = min(clip.end_s or duration, duration)
    named = [(first, min(last, duration)) for first, last in spans_of(text, clip.start_s) if first < duration]
    return named or [(min(clip.start_s, end), end)]
