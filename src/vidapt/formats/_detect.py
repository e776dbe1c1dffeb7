"""Which format a label file is in, by the exact keys of its first rows; and reading it in one call."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vidapt import parts
from vidapt.errors import ConfigError, FormatError
from vidapt.files import exists, matching
from vidapt.formats._media import checked
from vidapt.formats._parquet import PARQUET
from vidapt.formats._row import each_row
from vidapt.formats._scan import ZIPPED, each_value
from vidapt.formats._shards import shards_of
from vidapt.nouns import Sample

_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", PARQUET})
_MAX_BYTES = 2 << 30
_LOOKED_AT = 1000
"""Rows: the first ones of a mixed list may be text alone, which several formats write in the same way."""

_NAME_IT = "name it: --format KIND, or the `format` of a recipe's source"


def detect(path: Path) -> str:
    """Return the kind of a label file or folder of clips.

    Raises:
        FormatError: If there is nothing at `path`, or not exactly one format recognises it.
    """
    if not exists(path):
        raise FormatError(path, "there is no such file or folder", "check the path of the labels")
    by_name = _recognised(path, frozenset())
    found, shown = _by_rows(path) if path.is_file() and not by_name else (by_name, "")
    if len(found) == 1:
        return found[0]
    if found:
        raise FormatError(f"{path}:1", f"a row of {shown} may be {' or '.join(found)}", _NAME_IT)
    known = ", ".join(parts.kinds("formats"))
    raise FormatError(f"{path}:1", f"no format has rows of {shown}", f"{_NAME_IT}; known: {known}")


def _by_rows(path: Path) -> tuple[list[str], str]:
    """Formats that know the keys of the first rows, as many as tell; and the keys of the very first."""
    suffix = (path.with_suffix("") if path.suffix.lower() == ZIPPED else path).suffix.lower()
    if suffix not in _SUFFIXES:
        ends = ", ".join(sorted(_SUFFIXES))
        raise FormatError(
            path, f"labels end in {ends}, also with {ZIPPED} behind it; this in {path.suffix!r}", _NAME_IT
        )
    keys: frozenset[str] = frozenset()
    shown = ""
    found: list[str] = []
    unsound: list[FormatError] = []
    for row in itertools.islice(each_row(each_value(path, _MAX_BYTES), path), _LOOKED_AT):
        if isinstance(row, FormatError):  # whoever reads the file tells of it
            unsound.append(row)
            continue
        shown = shown or ", ".join(sorted(row.values))
        if keys >= row.values.keys():
            continue
        keys |= row.values.keys()
        known = _recognised(path, keys)
        found = known or found
        if len(known) == 1:
            break
    if unsound and not shown:
        raise unsound[0]
    return found, shown


def _recognised(path: Path, keys: frozenset[str]) -> list[str]:
    return [kind for kind in parts.kinds("formats") if parts.find("formats", kind).recognises(path, keys)]


def open_samples(path: str | Path, kind: str | None = None, **config: Any) -> Iterator[Sample]:
    """Yield the samples of a label file or folder, lazily.

    Args:
        path: The labels, or a pattern such as `part-*.jsonl` for several files.
        kind: Their format; found out by `detect` if None.
        config: Options of that format.

    Raises:
        FormatError: If the labels are unsound.
        ConfigError: If the format or one of its options does not exist.
    """
    files = shards_of(Path(path)) if matching(Path(path)) else [Path(path)]
    opened = [(file, built(file, kind, config)[1]) for file in files]
    return itertools.chain.from_iterable(part.read(file) for file, part in opened)


def built(path: Path, kind: str | None, config: Mapping[str, Any]) -> tuple[str, Any]:
    """Return a format's name and its part.

    Raises:
        FormatError: If no name is given and none can be told from the file.
        ConfigError: If the format or one of its options does not exist.
    """
    name = kind or detect(path)
    try:
        return name, parts.build("formats", {"kind": name, **config})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"formats.{name}", problems) from None


def check(samples: Iterable[Sample]) -> int:
    """Read all samples, so that whatever is wrong shows before work begins; return how many there are.

    Raises:
        FormatError: If a row is unsound, or if media are missing: all of them in one error, with their lines.
    """
    return sum(1 for _ in checked(samples))
