"""The folder of a store: a folder for every job, and beside them what its last job ends with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vidapt.captioning.store.index import Index, write_index
from vidapt.captioning.store.inputs import Listing
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.files import exists, remove, write_folder, write_json
from vidapt.locks import TakenError, owned
from vidapt.progress import Reporter

FORMAT = 1
"""Of the store's files; another one is refused."""

_JOBS, _JOB, _INDEX, _ROWS, _SHARDS, _DONE = (
    "jobs",
    "job.json",
    "index.parquet",
    "rows",
    "shards",
    "done.json",
)
_POLL_S = 0.2


@dataclass(frozen=True)
class Plan:
    """What a job is, as `job.json` keeps it.

    Attributes:
        settings: Hash of everything but the clips that captions depend on.
        request: Hash of the settings and of where the clips come from.
        listed: Hash of the list of clips.
        batch: Clips that are captioned together; with the same ones the model computes the same bits.
        asked: Model, questions and decoding, for people.
        ignored: Files that were no clips, by suffix.
        format: Of the store's files.
    """

    settings: str
    request: str
    listed: str
    batch: int
    asked: dict[str, Any]
    ignored: dict[str, int]
    format: int = FORMAT


class StoredJob:
    """A job's folder.

    Args:
        folder: Where it lies.

    Raises:
        ConfigError: If it is of another version of vidapt's files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        if found.get("format") != FORMAT:
            raise ConfigError(folder, f"is in format {found.get('format')}", "write to another folder")
        self.plan = Plan(**found)

    @cached_property
    def index(self) -> Index:
        """Its inputs."""
        return Index(self.folder / _INDEX)

    @property
    def number(self) -> int:
        """Which one of its request it is, from 0."""
        return int(self.folder.name.rpartition("-")[2])

    def part(self, shard: int) -> Path:
        """Where the rows of a shard are put once all are there."""
        return self.folder / _ROWS / f"{shard:06d}.parquet"

    def journal(self, shard: int) -> Path:
        """Where they are noted until then."""
        return self.folder / _SHARDS / f"{shard:06d}.jsonl"

    @property
    def parts(self) -> list[Path]:
        """Rows of finished shards, in order."""
        rows = self.folder / _ROWS
        return sorted(path for path in rows.iterdir() if path.suffix == ".parquet") if rows.is_dir() else []

    @property
    def finished(self) -> set[int]:
        """Numbers of finished shards."""
        return {int(path.stem) for path in self.parts if path.stem.isdigit()}

    @property
    def done(self) -> dict[str, Any] | None:
        """What it ended with; None while it has not."""
        file = self.folder / _DONE
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def end(self, told: dict[str, Any]) -> None:
        """Say that all is in place."""
        write_json(self.folder / _DONE, told)


def jobs_of(out: Path) -> list[StoredJob]:
    """All jobs of a store, the oldest of each request first."""
    folder = out / _JOBS
    if not folder.is_dir():
        return []
    found = []
    for one in folder.iterdir():
        if one.name[0] != "." and (one / _JOB).is_file():
            with suppress(FileNotFoundError):  # a later job of its request has just taken its rows over
                found.append(StoredJob(one))
    return sorted(found, key=lambda job: (job.plan.request, job.number))


def open_job(
    out: Path,
    settings: str,
    listing: Listing,
    shard: int,
    batch: int,
    asked: dict[str, Any],
    *,
    alone: bool,
    mark: Callable[[Path], None] | None = None,
    report: Reporter,
) -> StoredJob:
    """The unfinished job of a request, or a new one, whose inputs are listed now.

    Args:
        out: The store.
        settings: Hash of what captions depend on.
        listing: Where the clips come from.
        shard: Inputs of a shard of a new job.
        batch: Clips of a batch of a new job.
        asked: What is told of it.
        alone: Begin a new job where the last one is finished. Otherwise that counts as this one, if the same
            clips are listed: one of several processes comes when the others are through.
        mark: Called with the list once it is made, to mark clips that are not to be captioned.
        report: Told how far the list is.

    Raises:
        ConfigError: If there are no clips, or the folder holds something else.
        FormatError: If a list or a tar file cannot be read.
    """
    request = digest([FORMAT, settings, listing.said])[:16]
    refuse_others(out)
    with _patiently(out / _JOBS / request, report):
        before = [job for job in jobs_of(out) if job.plan.request == request]
        if before and before[-1].done is None:
            return before[-1]
        number = before[-1].number + 1 if before else 0
        folder = out / _JOBS / f"{request}-{number}"
        with write_folder(folder) as new:
            listed = write_index(new / _INDEX, listing, shard, report)
            if mark is not None:
                mark(new / _INDEX)
            plan = Plan(settings, request, listed, batch, asked, dict(listing.ignored))
            write_json(new / _JOB, asdict(plan))
        if before and not alone and before[-1].plan.listed == listed:
            remove(folder)
            return before[-1]
    return StoredJob(folder)


def refuse_others(out: Path) -> None:
    """Refuse a folder with something else in it.

    Raises:
        ConfigError: If it is no store and not empty, or no folder.
    """
    if not exists(out):
        return
    if not out.is_dir():
        raise ConfigError(out, "is a file and no folder", "give the name of a folder")
    if not (out / _JOBS).is_dir() and any(out.iterdir()):
        raise ConfigError(out, "holds other things than captions", "give the name of a new folder")


def remove_earlier(out: Path, job: StoredJob) -> None:
    """Delete finished jobs of the same request, whose rows the newest one has taken over."""
    for other in jobs_of(out):
        if other.plan.request == job.plan.request and other.number < job.number:
            remove(other.folder)


@contextmanager
def _patiently(path: Path, report: Reporter) -> Iterator[None]:
    """Be the only one who lists clips, once the others are through."""
    while True:
        try:
            with owned(path):
                yield
                return
        except TakenError:
            report("wait for the list of clips", 0, 1)
            time.sleep(_POLL_S)
