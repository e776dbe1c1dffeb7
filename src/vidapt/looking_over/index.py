"""The index beside the data: all that is looked over in Parquet, made anew whenever a file changes.

Rows stand in groups of which one is read at a time; columns that rows are found by are apart from what they
say.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vidapt.cleaning.inputs import PROVENANCE
from vidapt.decisions import about
from vidapt.digests import digest
from vidapt.files import exists, write_folder
from vidapt.formats._home import home_of
from vidapt.locks import owned
from vidapt.looking_over.differ import plain
from vidapt.looking_over.entries import Item
from vidapt.looking_over.gather import Gathered, Sources, gather
from vidapt.looking_over.made import plain as writable
from vidapt.looking_over.runs import find_runs
from vidapt.measure.verdicts import PREDICTIONS
from vidapt.progress import Reporter, silent
from vidapt.video.identity import identity

ROWS, CLIPS, SAID, CARD = "rows.parquet", "clips.parquet", "said.parquet", "index.json"
GROUP = 1000
"""Rows that are read together."""

LOW = "voices agree by less than 0.5"
_LOW = 0.5
_VERSION = 1
_SHORT = 240
_KEPT = 4
"""Indices of other choices of files that stay beside the data."""

TEXT = pa.string()
_ROWS = pa.schema(
    [
        *((name, TEXT) for name in ("id", "about", "verdict", "check", "kind", "split")),
        *((name, pa.list_(TEXT)) for name in ("flags", "differ", "claims")),
        ("clips", pa.list_(pa.int32())),
        ("drawn", pa.bool_()),
        *((name, TEXT) for name in ("question", "text", "words", "body")),
    ]
)
_CLIPS = pa.schema(
    [("id", TEXT), ("path", pa.binary()), *((name, pa.float64()) for name in ("start_s", "end_s", "rate"))]
)
_SAID = pa.schema([("clip", pa.int32()), ("body", TEXT)])


def indexed(sources: Sources, report: Reporter = silent) -> Path:
    """Folder of the index of some files, which is made if it is not there or not of these files as they are.

    Raises:
        FormatError: If a file is not there, or holds something else than it should.
        ConfigError: If the rejected rows are those of other labels.
        TakenError: If another process is making the same index.
    """
    folder = _folder(sources)
    stamp = _stamp(sources)
    if _kept(folder) == stamp:
        return folder
    with owned(folder):
        found = gather(sources, report)
        with write_folder(folder) as made:
            write_index(made, found, stamp)
    _forget(folder)
    return folder


def write_index(folder: Path, found: Gathered, stamp: Any = None) -> None:
    """Write what was read into a folder that is there."""
    _write(folder / ROWS, _ROWS, map(_row, found.items))
    _write(
        folder / CLIPS,
        _CLIPS,
        (
            {
                "id": writable(clip.id),
                "path": os.fsencode(clip.path),
                "start_s": clip.start_s,
                "end_s": clip.end_s,
                "rate": clip.rate,
            }
            for clip in found.clips
        ),
    )
    said = (
        {"clip": clip, "body": one.model_dump_json()}
        for clip in sorted(found.said)
        for one in found.said[clip]
    )
    _write(folder / SAID, _SAID, said)
    card = {"stamp": stamp, "columns": [asdict(one) for one in found.columns], "notes": found.notes}
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def _row(item: Item) -> dict[str, Any]:
    sample, made = item.sample, item.origin and item.origin.made
    flags = list(made.flags) if made else []
    if made and made.agreement is not None and made.agreement < _LOW:
        flags.append(LOW)
    texts = (sample.id, *(turn.text for turn in sample.turns), *sample.references, item.reason)
    row = {
        "id": sample.id,
        "about": about(sample),
        "verdict": item.verdict,
        "check": item.check,
        "kind": str(sample.facts.get("type") or ""),
        "split": item.split,
        "flags": dict.fromkeys(flags),
        "differ": item.differ,
        "claims": dict.fromkeys(claim.verdict for claim in sample.claims),
        "clips": item.clips,
        "drawn": item.drawn,
        "question": plain(sample.question)[:_SHORT],
        "text": sample.answer[:_SHORT],
        "words": "\n".join(texts).casefold(),
        "body": json.dumps(item.to_json()),
    }
    return {name: _written(value) for name, value in row.items()}


def _written(value: Any) -> Any:
    """A value as a table holds it: half surrogate pairs are escaped."""
    if isinstance(value, str):
        return writable(value)
    return (
        value
        if isinstance(value, bool)
        else list(map(_written, value))
        if isinstance(value, Iterable)
        else value
    )


def _write(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for group in _groups(iter(rows)):
            file.write_table(pa.Table.from_pylist(group, schema=schema))


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while group := list(islice(rows, GROUP)):
        yield group


def _folder(sources: Sources) -> Path:
    """Where the index of these files is: beside the first of them, or in the user's cache."""
    named = [str(Path(one).absolute()) for one in (*sources.labels, *sources.provenance)]
    runs = [f"{name}={path.absolute()}" for name, path in find_runs(sources.runs)]
    rejected = sources.rejected and str(sources.rejected.absolute())
    key = digest([named, sources.kind, dict(sources.options or {}), rejected, runs], 12)
    return home_of(Path(sources.labels[0])) / f"look-over-{key}"


def _stamp(sources: Sources) -> Any:
    """What tells whether any file changed since: sizes, times, and what some of their bytes are."""
    return [_VERSION, [[str(path.absolute()), *_seen(path)] for path in _read(sources)]]


def _read(sources: Sources) -> list[Path]:
    """All files that are read, as far as they are there."""
    labels = sources.files
    beside = [file.with_name(file.name + PROVENANCE) for file in labels]
    runs = [path / PREDICTIONS if path.is_dir() else path for _, path in find_runs(sources.runs)]
    named = [*labels, *filter(exists, beside), *sources.provenance, *runs]
    named += [sources.rejected] if sources.rejected is not None else []
    return [path for path in named if exists(path)]


class Watched:
    """Whether the files that are looked over are still as they were when the page was put up.

    Args:
        sources: Which files.
    """

    def __init__(self, sources: Sources) -> None:
        self._files = {path: _status(path) for path in _read(sources) if not path.is_dir()}

    @property
    def changed(self) -> bool:
        """By their sizes and times."""
        return any(_status(path) != was for path, was in self._files.items())


def _status(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _seen(path: Path) -> Sequence[Any]:
    if path.is_dir():  # of clips and the texts beside them
        own = (
            one for one in path.rglob("*") if not any(part[0] == "." for part in one.relative_to(path).parts)
        )
        return [digest(sorted((str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in own))]
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, identity(path)]


def _kept(folder: Path) -> Any:
    """What an index that is there says it is of."""
    try:
        return json.loads((folder / CARD).read_text(encoding="utf-8"))["stamp"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _forget(folder: Path) -> None:
    """Delete the oldest indices beside a new one; a page that shows one has its files open."""
    others = sorted(folder.parent.glob("look-over-*/"), key=lambda one: one.stat().st_mtime_ns)
    for old in others[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
