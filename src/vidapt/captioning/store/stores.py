"""The folder of a store: a folder for every job, and beside them what its last job ends with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from vidapt.captioning.places import Place
from vidapt.captioning.store.jobs import INDEX, JOB, JOBS, Plan, StoredJob, by_request
from vidapt.errors import ConfigError
from vidapt.files import check_folder, exists, remove, write_folder, write_json
from vidapt.locks import Owner, free, owned, owned_in

ALWAYS = "captions.parquet"
"""What every finished job writes into a folder."""


class LocalStore:
    """A folder with jobs.

    Args:
        place: The folder.
    """

    def __init__(self, place: Path) -> None:
        self.place: Place = place
        self.result: Place = place / ALWAYS
        self._out = place

    def check(self) -> None:
        """Refuse a folder with something else in it, or into which nothing can be written.

        Raises:
            ConfigError: If it is such a one.
            VidaptError: If nothing can be written there.
        """
        try:
            str(self._out).encode("utf-8")
        except UnicodeEncodeError:  # which Parquet files cannot be opened by
            raise ConfigError(self._out, "its name is no UTF-8", "give another name") from None
        refuse_others(self._out)
        check_folder(self._out)

    def at(self, name: str) -> Place:
        """The place of a file beside the jobs."""
        return self._out / name

    def accept(self, request: str) -> None:
        """Captions of all kinds go into one folder."""

    def jobs(self) -> list[StoredJob]:
        """All jobs, the oldest of each request first."""
        return jobs_of(self._out)

    def listing(self, request: str) -> AbstractContextManager[None]:
        """Be the only one that lists the clips of a request.

        Raises:
            TakenError: If another process does.
        """
        return owned(self._out / JOBS / request)

    def make(self, name: str, fill: Callable[[Path], Plan]) -> StoredJob:
        """Begin a job, which is seen once `fill` has written its list and said what it is."""
        folder = self._out / JOBS / name
        with write_folder(folder) as new:
            write_json(new / JOB, asdict(fill(new / INDEX)))
        return StoredJob(folder)

    def remove(self, job: StoredJob) -> None:
        """Delete a job."""
        remove(job.folder)

    def free(self, gone: Callable[[Owner], bool]) -> int:
        """Let others have at once what processes hold that are known to be gone; how much that was."""
        return sum(free(place, gone) for place in owned_in(self._out / JOBS))


class Store(Protocol):
    """Where jobs are: `LocalStore`, `single.FileStore` or `remote.RemoteStore`.

    Attributes:
        place: What a user calls it.
        result: What every finished job writes.
    """

    place: Place
    result: Place

    def check(self) -> None:
        """Refuse a place that cannot be used, before work begins."""

    def at(self, name: str) -> Place:
        """The place of a file beside the jobs."""

    def accept(self, request: str) -> None:
        """Refuse to replace captions of another kind, where there is place for one kind."""

    def jobs(self) -> Sequence[StoredJob]:
        """All jobs, the oldest of each request first."""

    def listing(self, request: str) -> AbstractContextManager[None]:
        """Be the only one that lists the clips of a request; `TakenError` if another process does."""

    def make(self, name: str, fill: Callable[[Path], Plan]) -> StoredJob:
        """Begin a job, which is seen once `fill` has written its list and said what it is."""

    def remove(self, job: StoredJob) -> None:
        """Delete a job."""

    def free(self, gone: Callable[[Owner], bool]) -> int:
        """Let others have at once what processes hold that are known to be gone; how much that was."""


def jobs_of(out: Path) -> list[StoredJob]:
    """All jobs of a store, the oldest of each request first."""
    folder = out / JOBS
    if not folder.is_dir():
        return []
    found = []
    for one in folder.iterdir():
        if one.name[0] != "." and (one / JOB).is_file():
            with suppress(FileNotFoundError):  # a later job of its request has just taken its rows over
                found.append(StoredJob(one))
    return by_request(found)


def refuse_others(out: Path) -> None:
    """Refuse a folder with something else in it.

    Raises:
        ConfigError: If it is no store and not empty, or no folder.
    """
    if not exists(out):
        return
    if not out.is_dir():
        raise ConfigError(out, "is a file and no folder", "give the name of a folder")
    if not (out / JOBS).is_dir() and any(out.iterdir()):
        raise ConfigError(out, "holds other things than captions", "give the name of a new folder")
