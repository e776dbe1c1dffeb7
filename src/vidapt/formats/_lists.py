"""Lists of clips without labels: rows of `path`, with `start_s`, `end_s`, `fps` and `id` where needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

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
    for found in listed_places(path, lambda given: None):
        assert not isinstance(found, tuple)
        yield found


def listed_places(
    path: Path, place: Callable[[str], str | None]
) -> Iterator[Clip | tuple[Clip, str] | FormatError]:
    """The same of a list whose paths may be addresses.

    Args:
        path: The list.
        place: Gives the address that a path stands for; None where it is that of a file.

    Yields:
        A clip; where it lies at an address, whose clip has no path of its own, with that; or what is wrong.

    Raises:
        FormatError: If the file cannot be read.
    """
    for number, row in enumerate(each_row(each_value(path, _MAX_BYTES), path)):
        if number % _REMEMBERED == 0:
            finder = MediaFinder(path, None)
        try:
            if isinstance(row, FormatError):
                yield row
                continue
            address = place(row.text(_KEY))
            yield _clip(row, finder) if address is None else (_clip(row, _Nowhere(path, None)), address)
        except FormatError as error:
            yield error


class _Nowhere(MediaFinder):
    """Looks for nothing: what is at an address is no file yet."""

    def path(self, given: str, row: Row) -> Path:
        """The name alone."""
        del row
        return Path(PurePosixPath(given).name)


def _clip(row: Row, finder: MediaFinder) -> Clip:
    clip = stretch(row, row.text(_KEY), finder)
    return replace(clip, id=row.identity()) if row.values.get("id") is not None else clip
