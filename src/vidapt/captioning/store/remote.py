"""A store of captions in an object store: the same jobs, of which this machine has a copy for its work.

What counts lies in the store: a job's list and plan, leases, noted rows, and a part for each finished shard,
which appears whole and, where the store can refuse a second one, once. Journals are files on this machine, so
that a batch is noted and synced at once; what is new in them goes into the store with each heartbeat of their
lease, as an object of its own, so that what is sent does not grow with the journal. A machine that is lost
loses what it noted since the last one.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vidapt.captioning.objects import Objects
from vidapt.captioning.places import Place, scratch
from vidapt.captioning.rows import SUFFIXES
from vidapt.captioning.store.index import Index
from vidapt.captioning.store.jobs import (
    DONE,
    INDEX,
    JOB,
    JOBS,
    JOIN,
    PARQUET,
    ROWS,
    SHARDS,
    Plan,
    StoredJob,
    by_request,
    read_plan,
)
from vidapt.captioning.store.journal import ShardJournal
from vidapt.captioning.store.leases import free_lease, leased
from vidapt.captioning.store.rows import counted, write_part
from vidapt.captioning.store.sent import SentJournal
from vidapt.captioning.store.single import FileStore, state_of
from vidapt.captioning.store.stores import ALWAYS, LocalStore, Store
from vidapt.errors import ConfigError
from vidapt.locks import Owner

_TAIL = 1 << 16
"""Bytes at the end of a part that hold what its head says."""

_TOKEN = "token"
_FETCHED_AT_ONCE = 16


def store_at(place: Place, *, overwrite: bool = False) -> Store:
    """The store at a place.

    Args:
        place: A folder, or the address of one; or a file (`.jsonl`, `.parquet`) that captions go into.
        overwrite: Replace whatever that file holds.

    Raises:
        ConfigError: If a folder is to be overwritten.
    """
    if is_single(place):
        return FileStore(Path(place), overwrite=overwrite)
    if overwrite:
        raise ConfigError(
            "--overwrite", "in a folder, other questions are other work", "leave it out, or remove the folder"
        )
    return LocalStore(place) if isinstance(place, Path) else RemoteStore(place)


def is_single(place: Place) -> bool:
    """Whether captions go into one file, and not into a folder."""
    return isinstance(place, Path) and place.suffix in SUFFIXES and not os.path.isdir(place)  # noqa: PTH112


def folder_at(place: Path) -> Path:
    """The folder of a store of this machine."""
    return state_of(Path(os.path.realpath(place))) if is_single(place) else place


class RemoteStore:
    """Jobs in an object store.

    Args:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        self.place: Place = url
        self._objects = Objects(url)
        self.result: Place = self._objects.at(ALWAYS)

    def check(self) -> None:
        """Refuse a place with something else in it, or into which nothing can be written.

        Raises:
            ConfigError: If it is such a one.
            VidaptError: If nothing can be written there.
        """
        names = self._objects.names("")
        if JOBS not in names and any(not name.startswith(".") for name in names):
            raise ConfigError(
                self._objects.url, "holds other things than captions", "give the name of a new folder"
            )
        _ = self._objects.conditional

    def at(self, name: str) -> Place:
        """The place of an object beside the jobs."""
        return self._objects.at(name)

    def accept(self, request: str) -> None:
        """Captions of all kinds go into one folder."""

    def jobs(self) -> list[StoredJob]:
        """All jobs, the oldest of each request first."""
        found = []
        for name in self._objects.names(JOBS):
            told = self._objects.json(f"{JOBS}/{name}/{JOB}")
            if told is not None:
                found.append(RemoteJob(self._objects, name, told))
        return [*by_request(found)]

    def listing(self, request: str) -> AbstractContextManager[None]:
        """Be the only one that lists the clips of a request.

        Raises:
            TakenError: If another process does.
        """
        return leased(self._objects, f"{JOBS}/{request}")

    def make(self, name: str, fill: Callable[[Path], Plan]) -> StoredJob:
        """Begin a job, which is seen once its list is there.

        If somebody began it meanwhile, whose heartbeat was not seen, it is his.
        """
        token = secrets.token_hex(8)
        with tempfile.TemporaryDirectory() as folder:
            index = Path(folder) / INDEX
            told = asdict(fill(index)) | {_TOKEN: token}
            self._objects.upload(f"{JOBS}/{name}/{token}{PARQUET}", index)
        self._objects.create(f"{JOBS}/{name}/{JOB}", json.dumps(told, indent=2).encode())
        return RemoteJob(self._objects, name, self._objects.json(f"{JOBS}/{name}/{JOB}"))

    def remove(self, job: StoredJob) -> None:
        """Delete a job; what says that it is one goes first."""
        self._objects.remove([f"{JOBS}/{job.name}/{JOB}", f"{JOBS}/{job.name}"])
        shutil.rmtree(job.folder, ignore_errors=True)

    def free(self, gone: Callable[[Owner], bool]) -> int:
        """Let others have at once what processes hold that are known to be gone; how much that was."""
        folders = []
        for name in self._objects.names(JOBS):
            job = f"{JOBS}/{name}"
            shards = [f"{job}/{SHARDS}/{shard}" for shard in self._objects.names(f"{job}/{SHARDS}")]
            folders += [job, f"{job}/{JOIN}", *shards]
        return sum(free_lease(self._objects, folder, gone) for folder in folders)


class RemoteJob(StoredJob):
    """A job in an object store; its folder is a copy of what this machine needs of it.

    Args:
        objects: The store.
        name: What it is called there.
        told: What its `job.json` holds.
    """

    def __init__(self, objects: Objects, name: str, told: dict[str, Any]) -> None:
        self._objects, self._name, self._place = objects, name, f"{JOBS}/{name}"
        held = dict(told) if isinstance(told, dict) else {}
        self._token = str(held.pop(_TOKEN, ""))
        self.plan = read_plan(objects.at(self._place), held)
        if not self._token.isalnum():
            raise ConfigError(objects.at(self._place), "is damaged", "remove it")
        # Another job of the same name, in another store or a later one, is not mistaken for it.
        self.folder = scratch() / self._token
        self._rows: dict[int, Counter[str]] = {}

    @cached_property
    def index(self) -> Index:
        """Its inputs."""
        return Index(self._fetched(f"{self._token}{PARQUET}", self.folder / INDEX))

    @property
    def name(self) -> str:
        """What it is called in its store."""
        return self._name

    def hold(self, shard: int) -> ShardJournal:
        """Hold a shard for as long as its journal is open; what others noted of it is in there.

        Raises:
            TakenError: If another process holds it.
        """
        return SentJournal(self._objects, f"{self._place}/{SHARDS}/{shard:06d}", self.journal(shard))

    def has(self, shard: int) -> bool:
        """Whether all rows of a shard are in place."""
        return self._objects.exists(self._part(shard))

    def put(self, shard: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put all rows of a shard in place, unless they are."""
        with tempfile.TemporaryDirectory(dir=self._made()) as folder:
            file = Path(folder) / self.part(shard).name
            write_part(file, rows)
            if self._objects.conditional:
                self._objects.create(self._part(shard), file.read_bytes())
            elif not self.has(shard):
                self._objects.upload(self._part(shard), file)

    @property
    def parts(self) -> list[Path]:
        """Rows of finished shards, in order, fetched to this machine; without what is removed meanwhile."""
        with ThreadPoolExecutor(_FETCHED_AT_ONCE, thread_name_prefix="vidapt-parts") as pool:
            return [path for path in pool.map(self._fetched_part, sorted(self.finished)) if path is not None]

    def _fetched_part(self, shard: int) -> Path | None:
        try:
            return self._fetched(f"{ROWS}/{shard:06d}{PARQUET}", self.part(shard))
        except FileNotFoundError:
            return None

    @property
    def finished(self) -> set[int]:
        """Numbers of finished shards."""
        names = self._objects.names(f"{self._place}/{ROWS}")
        stems = [name.removesuffix(PARQUET) for name in names if name.endswith(PARQUET)]
        return {int(stem) for stem in stems if stem.isdigit()}

    @property
    def counts(self) -> Counter[str]:
        """Rows of finished shards by their status."""
        unknown = sorted(self.finished - self._rows.keys())
        ends = self._objects.tails([self._part(shard) for shard in unknown], _TAIL)
        for shard, end in zip(unknown, ends, strict=True):
            if end:
                self._rows[shard] = counted(pq.read_schema(io.BytesIO(end)))
        return sum(self._rows.values(), Counter[str]())

    @property
    def done(self) -> dict[str, Any] | None:
        """What it ended with; None while it has not."""
        found = self._objects.json(f"{self._place}/{DONE}")
        return found if isinstance(found, dict) else None

    def end(self, told: dict[str, Any]) -> None:
        """Say that all is in place; what was needed for that is not any more."""
        self._objects.write(f"{self._place}/{DONE}", json.dumps(told, indent=2).encode())
        self._objects.remove([f"{self._place}/{SHARDS}"])

    def forget(self) -> None:
        """Remove this machine's copy."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def joining(self) -> AbstractContextManager[None]:
        """Be the only one that joins its rows.

        Raises:
            TakenError: If another process does.
        """
        return leased(self._objects, f"{self._place}/{JOIN}")

    def _made(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    def _part(self, shard: int) -> str:
        return f"{self._place}/{ROWS}/{shard:06d}{PARQUET}"

    def _fetched(self, name: str, target: Path) -> Path:
        """A file with what an object holds, which never changes."""
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
            try:
                self._objects.download(f"{self._place}/{name}", aside)
                aside.replace(target)
            finally:
                aside.unlink(missing_ok=True)
        return target
