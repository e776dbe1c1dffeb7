"""Which clips lie at the address of an object store, and in what order: folders, patterns, lists, tars."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vidapt.captioning.fetched import Source
from vidapt.captioning.found import order, readable
from vidapt.captioning.places import MARK, STORES, check_address, is_address
from vidapt.errors import ConfigError, FormatError
from vidapt.formats import is_list, listed_places
from vidapt.nouns import Clip
from vidapt.video.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES

LISTS = frozenset({".jsonl", ".ndjson", ".json", ".parquet"})
ZIPPED, TAR = ".gz", ".tar"
_MOST_LIST = 2 << 30
"""Bytes of a list that is fetched."""

_PATTERN = frozenset("*?[")
At = tuple[Clip, str, tuple[int, int] | None]
"""A clip, the address of its object, and first byte and bytes in it if that is a tar file."""


def clips_at(url: str, ignored: Counter[str]) -> Iterator[Clip | At | FormatError]:
    """Yield the clips at an address, folders in natural order, and what is wrong with rows of a list.

    Args:
        url: Of a folder, a clip, a pattern, a list of clips or a tar file.
        ignored: Told which objects are no clips, by their suffix.

    Raises:
        ConfigError: If nothing is there.
        FormatError: If a list or a tar file cannot be read.
    """
    source = Source(url)
    pattern = bool(set(url.partition(MARK)[2]) & _PATTERN)
    if not pattern and not source.is_object(url):
        if not source.is_folder(url):
            raise ConfigError(url, "there is no such object or folder", "check the address")
        yield from _in_folder(source, url, url, ignored)
        return
    for one in source.matching(url) if pattern else [url]:
        yield from _group(source, one, ignored)


def _group(source: Source, url: str, ignored: Counter[str]) -> Iterator[Clip | At | FormatError]:
    name = PurePosixPath(url)
    kind = name.with_suffix("") if name.suffix.lower() == ZIPPED else name
    if name.suffix.lower() == TAR:
        for inside, offset, size in source.members(url):
            suffix = PurePosixPath(inside).suffix.lower()
            if suffix in VIDEO_SUFFIXES | PICTURE_SUFFIXES:
                yield Clip(readable(f"{name.name}/{inside}"), Path(name.name)), url, (offset, size)
            else:
                ignored[suffix] += 1
    elif kind.suffix.lower() in LISTS:
        yield from _listed(source, url)
    else:
        yield Clip(name.name, Path(name.name)), url, None


def _in_folder(source: Source, root: str, url: str, ignored: Counter[str]) -> Iterator[At]:
    """Clips of a folder, then those of the folders inside."""
    objects, folders = source.inside(url)
    for one in sorted(objects, key=lambda one: order(PurePosixPath(one).name)):
        path = PurePosixPath(one)
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            ignored[f"hidden {suffix}"] += 1
        elif suffix in VIDEO_SUFFIXES | PICTURE_SUFFIXES:
            yield Clip(readable(one.removeprefix(root).lstrip("/")), Path(path.name)), one, None
        else:
            ignored[suffix] += 1
    for folder in sorted(folders, key=lambda one: order(PurePosixPath(one).name)):
        if not PurePosixPath(folder).name.startswith("."):
            yield from _in_folder(source, root, folder, ignored)


def _listed(source: Source, url: str) -> Iterator[Clip | At | FormatError]:
    """Clips of a list, which is fetched; paths are relative to where it lies."""
    base, _, name = url.rpartition("/")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        source.fetch(url, path, _MOST_LIST)
        if not is_list(path):
            raise FormatError(url, "is no list of clips", "a list has a column `path`; copy label files here")
        for found in listed_places(path, lambda given: _below(given, base)):
            yield (*found, None) if isinstance(found, tuple) else found


def clips_listed(path: Path) -> Iterator[Clip | At | FormatError]:
    """Clips of a list on this machine, of which some may lie at addresses.

    Raises:
        FormatError: If the list cannot be read.
    """
    for found in listed_places(path, _outside):
        yield (*found, None) if isinstance(found, tuple) else found


def _below(given: str, base: str) -> str | None:
    """The address that a path in a list stands for; None for one that may not be reached."""
    outside = _outside(given)
    if outside is None and is_address(given):
        return None  # refused, as it is in every list
    return outside or f"{base}/{given.lstrip('/')}"


def _outside(given: str) -> str | None:
    """The address that stands in a list, which reaches object stores and nothing else; None for a path.

    A list may be anybody's, and what it names is fetched from here.
    """
    if not is_address(given) or given.partition(MARK)[0] not in STORES:
        return None
    check_address(given)
    return given
