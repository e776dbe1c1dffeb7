"""Object stores through fsspec: whole objects, and none made twice where a store can tell."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from vidapt.captioning.places import opened, store_errors
from vidapt.errors import ConfigError, VidaptError
from vidapt.files import disk_errors

_SETTLE_S = 2.0
"""Seconds after which whoever wrote last is seen by all, where a store cannot refuse the second."""

_ATTEMPTS = 3


class Objects:
    """What lies below an address.

    Args:
        url: The address.

    Attributes:
        url: The same.

    Raises:
        ConfigError: If there is no such kind of store, or what it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = opened(self.url)

    def at(self, name: str = "") -> str:
        """The address of an object below this one."""
        return f"{self.url}/{name}" if name else self.url

    def read(self, name: str) -> bytes | None:
        """What an object holds; None if there is none."""
        try:
            with store_errors(self.at(name)):
                return bytes(self._fs.cat_file(self._path(name)))
        except FileNotFoundError:
            return None

    def json(self, name: str) -> Any:
        """The JSON in an object; None if there is none, or it is not whole."""
        held = self.read(name)
        try:
            return None if held is None else json.loads(held)
        except ValueError:
            return None

    def exists(self, name: str) -> bool:
        """Whether there is an object of a name."""
        with store_errors(self.at(name)):
            return bool(self._fs.exists(self._path(name)))

    def names(self, folder: str) -> list[str]:
        """Objects and folders right below one, in order."""
        try:
            with store_errors(self.at(folder)):
                found = self._fs.ls(self._path(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = {one.rstrip("/").rpartition("/")[2] for one in found}
        return sorted(names - {"", self._path(folder).rpartition("/")[2]})

    def write(self, name: str, held: bytes) -> None:
        """Put an object in place, or in that of another one; it is never seen in part."""
        with store_errors(self.at(name)):
            if self.conditional:
                self._fs.pipe_file(self._path(name), held)
            else:
                self._moved(name, lambda aside: self._fs.pipe_file(aside, held))

    def upload(self, name: str, source: Path) -> None:
        """Put a file in place as an object, or in that of another one; it is never seen in part."""
        with store_errors(self.at(name)):
            if self.conditional:
                self._fs.put_file(str(source), self._path(name))
            else:
                self._moved(name, lambda aside: self._fs.put_file(str(source), aside))

    def create(self, name: str, held: bytes) -> bool:
        """Put an object in place unless there is one: of those who try at once, one alone does.

        Where a store cannot promise that (`conditional`), it is written, and after some seconds read again:
        who wrote last has made it. There two may do so, if one of them takes longer than that.

        Args:
            name: Its name.
            held: What nobody else would write, as a mark of one's own in it.

        Returns:
            Whether what is there is `held`.
        """
        path = self._path(name)
        if not self.conditional:
            if self.exists(name):
                return self.read(name) == held
            self.write(name, held)
            time.sleep(_SETTLE_S)
            return self.read(name) == held
        for attempt in range(_ATTEMPTS):
            try:
                with store_errors(self.at(name)):
                    self._fs.pipe_file(path, held, mode="create")
            except FileExistsError:
                # The answer to a first attempt may have been lost, and the store's library made another.
                return self.read(name) == held
            except VidaptError:  # a store may be in doubt while another one writes the same (409)
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_SETTLE_S)
            else:
                return True
        raise AssertionError

    def remove(self, names: Sequence[str]) -> None:
        """Delete objects, and folders with all that is in them; what is gone already does not count."""
        for name in names:
            try:
                with store_errors(self.at(name)):
                    self._fs.rm(self._path(name), recursive=True)
            except FileNotFoundError:
                continue

    def download(self, name: str, target: Path) -> None:
        """Fetch an object into a file.

        Raises:
            FileNotFoundError: If there is none.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(target), store_errors(self.at(name)):
            self._fs.get_file(self._path(name), str(target))

    def tails(self, names: Sequence[str], size: int) -> list[bytes]:
        """The last bytes of objects, asked for together; none of those that are not there."""
        paths = [self._path(name) for name in names]
        with store_errors(self.url):
            found = self._fs.cat_ranges(paths, [-size] * len(paths), [None] * len(paths), on_error="return")
        return [bytes(one) if isinstance(one, bytes) else b"" for one in found]

    @property
    def conditional(self) -> bool:
        """Whether the store itself refuses to make what is there already; asked of it, not of its name.

        Raises:
            VidaptError: If nothing can be written there.
        """
        return self._probed[0]

    @property
    def now(self) -> float:
        """Seconds since 1970, by the store's clock, so that all machines mean the same."""
        return time.time() + self._probed[1]

    @cached_property
    def _probed(self) -> tuple[bool, float]:
        """Whether it is conditional, and how many seconds its clock is ahead."""
        fs, path = self._fs, self._path(f".probe-{secrets.token_hex(8)}")
        try:
            with store_errors(self.url):
                if _has_folders(fs):
                    fs.makedirs(self._root, exist_ok=True)
                began = time.time()
                fs.pipe_file(path, b"1")
                ahead = _modified(fs, path) - (began + time.time()) / 2
                conditional = _refuses(fs, path)
                fs.rm(path)
        except FileNotFoundError as error:
            raise ConfigError(self.url, "there is no such bucket", "make it first") from error
        return conditional, ahead

    def _moved(self, name: str, put: Callable[[str], object]) -> None:
        """Write beside, then rename: where writing is not all or nothing, renaming is."""
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        self._fs.makedirs(folder, exist_ok=True)
        aside = f"{folder}/.{last}.{secrets.token_hex(8)}"
        put(aside)
        self._fs.mv(aside, path)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def _modified(fs: Any, path: str) -> float:
    """When an object was written, by the store's clock, or by this machine's where that tells nothing."""
    try:
        return float(fs.modified(path).timestamp())
    except Exception:  # noqa: BLE001 - many stores cannot tell, and say so in ways of their own
        return time.time()


def _refuses(fs: Any, path: str) -> bool:
    """Whether a store refuses to make what is there, its library not having looked first."""

    def no(*args: object, **options: object) -> bool:
        return False

    async def none(*args: object, **options: object) -> bool:
        return False

    try:
        fs.exists, fs._exists = no, none
        fs.pipe_file(path, b"2", mode="create")
    except FileExistsError:
        return True
    except Exception:  # noqa: BLE001 - whatever it says, it does not promise it
        return False
    else:
        return False
    finally:
        del fs.exists, fs._exists


def _has_folders(fs: Any) -> bool:
    """Whether places must be made before anything is put there; object stores have buckets instead."""
    return not hasattr(fs, "_pipe_file")
