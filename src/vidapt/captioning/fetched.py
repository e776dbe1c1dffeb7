"""Clips that lie in object stores: found, known by what the store tells of them, and fetched one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidapt.captioning.places import MARK, opened, store_errors
from vidapt.errors import BudgetError, VidaptError
from vidapt.files import disk_errors
from vidapt.formats.webdataset import members_of

_BLOCK, _READ_AHEAD = 1 << 20, 1 << 18
_SPARE = 1 << 30
"""Bytes of a disk that stay free when clips are fetched."""

_CHANGES = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "mtime", "created")
"""What stores tell of an object that is another once it is written again."""


class Source:
    """Objects of one kind of store.

    Args:
        url: The address of one of them.

    Raises:
        ConfigError: If there is no such kind of store, or what it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        self.kind = url.partition(MARK)[0]
        self._fs, _ = opened(url)

    def is_object(self, url: str) -> bool:
        """Whether there is an object at an address."""
        with store_errors(url):
            return bool(self._fs.isfile(self._path(url)))

    def is_folder(self, url: str) -> bool:
        """Whether there are objects below an address."""
        with store_errors(url):
            return bool(self._fs.isdir(self._path(url)))

    def matching(self, url: str) -> list[str]:
        """Objects that fit a pattern, in order."""
        with store_errors(url):
            found = self._fs.glob(self._path(url), detail=True)
        return [self._url(name) for name, info in sorted(found.items()) if info["type"] == "file"]

    def inside(self, url: str) -> tuple[list[str], list[str]]:
        """Addresses of objects and of folders right below one."""
        path = self._path(url).rstrip("/")
        with store_errors(url):
            found = [one for one in self._fs.ls(path, detail=True) if one["name"].rstrip("/") != path]
        objects = [self._url(one["name"]) for one in found if one["type"] == "file"]
        return objects, [self._url(one["name"].rstrip("/")) for one in found if one["type"] == "directory"]

    def told(self, url: str) -> tuple[int, list[str]]:
        """Size of an object, and what changes whenever it is written.

        Raises:
            FileNotFoundError: If there is none.
        """
        with store_errors(url):
            info: Mapping[str, Any] = self._fs.info(self._path(url))
        return int(info.get("size") or 0), [str(info[one]) for one in _CHANGES if info.get(one)]

    def members(self, url: str) -> Iterator[tuple[str, int, int]]:
        """Name, first byte and bytes of what a tar file holds, of which the heads alone are read.

        Raises:
            FormatError: If it is cut off, or no tar file.
        """
        with self._stream(url, _READ_AHEAD) as stream:
            yield from members_of(stream, url)

    def fetch(self, url: str, target: Path, most: int, part: tuple[int, int] | None = None) -> None:
        """Fetch an object into a file; its size is held against a limit and the disk before.

        Args:
            url: Its address.
            target: The file.
            most: Bytes that it may have.
            part: First byte and bytes, of a part of it.

        Raises:
            BudgetError: If it is larger than that.
            FileNotFoundError: If there is none.
            VidaptError: If the disk cannot hold it.
        """
        start, size = part or (0, self.told(url)[0])
        if size > most:
            raise BudgetError(url, f"it has {size:,} bytes, more than the {most:,} that are fetched")
        target.parent.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(target.parent)
        if size + _SPARE > disk.f_bavail * disk.f_frsize:
            remedy = "free some space, or let TMPDIR name a larger disk"
            raise VidaptError(target.parent, f"the disk cannot hold the {size:,} bytes of {url}", remedy)
        left = size
        with disk_errors(target), target.open("wb") as file:
            while left:
                end = start + min(left, _BLOCK * _AT_ONCE)
                block = self._bytes(url, start, end)
                if not block:
                    break  # it became shorter meanwhile; what it is now is seen when it is decoded
                file.write(block)
                left, start = left - len(block), start + len(block)

    def _bytes(self, url: str, start: int, end: int) -> bytes:
        with store_errors(url):
            return bytes(self._fs.cat_file(self._path(url), start=start, end=end))

    def _stream(self, url: str, block: int) -> Any:
        with store_errors(url):
            return self._fs.open(self._path(url), "rb", block_size=block, cache_type="readahead")

    def _path(self, url: str) -> str:
        return str(self._fs._strip_protocol(url))

    def _url(self, path: str) -> str:
        return f"{self.kind}{MARK}{path.lstrip('/')}"


_AT_ONCE = 16
"""Blocks of one request."""
