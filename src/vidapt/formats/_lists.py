"""Lists of clips without labels: rows of `path`, with `start_s`, `end_s`, `fps` and `id` where needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vidapt.errors import FormatError
from vidapt.formats._media import MediaFinder
from vidapt.formats._row import Row, each_row
from vidapt.formats._scan import each_value
from vidapt.formats.vidapt_jsonl import stretch
from vidapt.nouns import Clip

_MAX_BYTES = 2 << 30
_KEY = "path"
_REMEMBERED = 20_000
"""Rows after which what was found of their files is forgotten, so that it does not grow with the list."""


def is_list(path: Path) -> bool:
    """Whether the first sound row of a file of JSON lines, a JSON list or a Parquet file has a `path`.

    Raises:
        FormatError: If the file cannot be read.
    """
    for row in each_row(each_value(path, _MAX_BYTES), path):
        if isinstance(row, Row):
            return _KEY in row.values
    return False


def listed_clips(path: Path) -> Iterator[Clip | FormatError]:
    """Yield the clip of every row, lazily; in the place of an unsound row, what is wrong with it.

    Paths are relative to the file's folder. Further columns are passed over.

    Args:
        path: A file of JSON lines, a JSON list or Parquet.

    Raises:
        FormatError: If the file cannot be read.
    """
    for number, row in enumerate(each_row(each_value(path, _MAX_BYTES), path)):
        if number % _REMEMBERED == 0:
            finder = MediaFinder(path, None)
        try:
            yield row if isinstance(row, FormatError) else _clip(row, finder)
        except FormatError as error:
            yield error


def _clip(row: Row, finder: MediaFinder) -> Clip:
    clip = stretch(row, row.text(_KEY), finder)
    return replace(clip, id=row.identity()) if row.values.get("id") is not None else clip
