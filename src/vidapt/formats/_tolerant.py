"""Reading labels of which some may be unsound: every row gives a sample, or says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vidapt.errors import FormatError
from vidapt.formats._detect import built
from vidapt.formats._row import Row, each_row
from vidapt.formats._scan import each_value
from vidapt.formats._shards import shards_of
from vidapt.nouns import Sample


def each_sample(path: str | Path, kind: str | None = None, **config: Any) -> Iterator[Sample | FormatError]:
    """Yield every sample of label files, and in place of an unsound one what is wrong with it.

    What breaks a file itself (a list that is no JSON, a shard that is cut off) is told once, and what stands
    behind it cannot be read. Media are not looked for.

    Args:
        path: A label file, a folder, or a pattern.
        kind: Its format; found out from its content if None.
        config: Options of the format.

    Raises:
        FormatError: If nothing is there, or no format has such rows.
        ConfigError: If the format or one of its options does not exist.
    """
    for file in shards_of(Path(path)):
        part = built(file, kind, config)[1]
        if not hasattr(part, "reader"):
            yield from _until_broken(part.read(file))
            continue
        make, ids = part.reader(file), dict[str, str]()
        unique = getattr(part, "unique_ids", False)
        for row in _rows(file, part):
            yield row if isinstance(row, FormatError) else _made(make, row, ids if unique else None)


def _made(make: Callable[[Row], Sample], row: Row, ids: dict[str, str] | None) -> Sample | FormatError:
    try:
        sample = make(row)
        if ids is not None and ids.setdefault(sample.id, row.where) != row.where:
            return row.error(f"the id {sample.id!r} is already that of {ids[sample.id]}")
    except FormatError as error:
        return error
    return sample


def _rows(path: Path, part: Any) -> Iterator[Row | FormatError]:
    own = getattr(part, "rows", None)
    try:
        yield from each_row(each_value(path, part.cfg.max_bytes) if own is None else own(path), path)
    except FormatError as error:
        yield error


def _until_broken(samples: Iterator[Sample]) -> Iterator[Sample | FormatError]:
    try:
        yield from samples
    except FormatError as error:
        yield error
