"""Where clips and captions lie: a path, or the address of an object store (`s3://bucket/place`).

Credentials come from where a store's own library looks for them (environment, its files, the machine's role);
none is taken from an address, so that none is ever shown or written.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from vidapt.captioning.found import readable
from vidapt.errors import ConfigError, VidaptError

STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
"""Kinds of stores that a list of clips may name, wherever the list comes from."""

MARK, _LOCAL, _CHAIN = "://", "file", "::"
_NEEDS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_SECRET = re.compile(r"(?i)\b(sig|signature|token|secret|password|key)=[^&\s]+")
"""What some libraries repeat of an address that they asked."""

Place = Path | str
"""A path, or the address of an object store."""


def place_of(text: str) -> Place:
    """A path, or an address; that of a file on this machine is a path.

    Raises:
        ConfigError: If an address holds a password, or leads through another one.
    """
    if MARK not in text:
        return Path(text)
    if text.startswith(f"{_LOCAL}{MARK}"):
        return Path(text[len(_LOCAL) + len(MARK) :])
    check_address(text)
    return text.rstrip("/")


def as_place(given: Place) -> Place:
    """A place that may be given as a text; errors as in `place_of`."""
    return place_of(given) if isinstance(given, str) else given


def is_address(place: object) -> bool:
    """Whether it is the address of an object store."""
    return isinstance(place, str) and MARK in place


def kind_of(url: str) -> str:
    """The kind of store of an address, such as `s3`."""
    return url.partition(MARK)[0]


def absolute(place: Place) -> str:
    """What a place is called, wherever one stands."""
    return place if isinstance(place, str) else str(place.absolute())


def folder_of(source: Place | Sequence[Place]) -> str:
    """Where the names of clips begin; nothing needs to be there."""
    if isinstance(source, str):
        return readable(source)
    if not isinstance(source, Path):
        return readable(str(Path.cwd()))
    is_folder = os.path.isdir(source)  # noqa: PTH112 - it raises nothing, whatever the name
    return readable(str((source if is_folder else source.parent).resolve()))


def suffix_of(place: Place) -> str:
    """The suffix of a place's name."""
    return Path(place).suffix


def check_address(url: str) -> None:
    """Refuse an address that holds a password, or leads through another one.

    Raises:
        ConfigError: If it does; the address is not repeated.
    """
    kind = kind_of(url)
    if _CHAIN in url or not kind.replace("+", "").isalnum():
        raise ConfigError(
            "address", "leads through another one", "give one address, such as s3://bucket/clips"
        )
    if ":" in urlsplit(url).netloc.rpartition("@")[0]:
        remedy = "give credentials by the environment, as the store's library reads them"
        raise ConfigError(f"{kind}{MARK}", "the address holds a password", remedy)


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Tell what a store's library says; each has errors of its own.

    Raises:
        VidaptError: If it says anything but that something is there, or is not.
    """
    try:
        yield
    except (VidaptError, FileExistsError, FileNotFoundError):
        raise
    except Exception as error:
        said = _SECRET.sub(r"\1=...", (str(error).strip() or "no reason given").splitlines()[0])
        remedy = "check the address, the credentials in the environment, and that the store can be reached"
        raise VidaptError(url, f"{type(error).__name__}: {said}", remedy) from error


def opened(url: str) -> tuple[Any, str]:
    """The file system of an address as fsspec has it, which remembers no listing; and the place in it.

    Raises:
        ConfigError: If there is no such kind of store, or what it needs is not installed.
    """
    check_address(url)
    kind = kind_of(url)
    try:
        with store_errors(url):
            fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except VidaptError as error:
        if isinstance(error.__cause__, ImportError):
            needed = _NEEDS.get(kind, f"what fsspec needs for {kind}{MARK}")
            remedy = "pip install 'vidapt[scale]'" if needed == "s3fs" else f"pip install {needed}"
            raise ConfigError(url, f"{needed} is not installed", remedy) from error
        if isinstance(error.__cause__, ValueError):
            raise ConfigError(url, f"there are no stores of kind {kind!r}", "check the address") from error
        raise
    return fs, root.rstrip("/")


def scratch() -> Path:
    """Where this machine keeps copies of jobs in object stores, for its user alone (`TMPDIR` moves it).

    Raises:
        ConfigError: If somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"vidapt-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigError(folder, "is not for you alone", "remove it, or let TMPDIR name another folder")
    return folder
