"""A job of a store: its list of clips, and for each shard of it what is noted, and what is in place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from vidapt.captioning.store.index import Index
from vidapt.captioning.store.journal import ShardJournal
from vidapt.captioning.store.rows import part_counts, write_part
from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.locks import owned

FORMAT = 1
"""Of the store's files; another one is refused."""

JOBS, JOB, INDEX, ROWS, SHARDS, DONE, JOIN = (
    "jobs",
    "job.json",
    "index.parquet",
    "rows",
    "shards",
    "done.json",
    "join",
)
PARQUET = ".parquet"
_Job = TypeVar("_Job", bound="StoredJob")


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
    """A job's folder, which its processes share.

    Args:
        folder: Where it lies.

    Raises:
        ConfigError: If it is of another version of vidapt's files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = read_plan(folder, json.loads((folder / JOB).read_text(encoding="utf-8")))

    @cached_property
    def index(self) -> Index:
        """Its inputs."""
        return Index(self.folder / INDEX)

    @property
    def name(self) -> str:
        """What it is called in its store."""
        return self.folder.name

    @property
    def number(self) -> int:
        """Which one of its request it is, from 0."""
        return int(self.name.rpartition("-")[2])

    def part(self, shard: int) -> Path:
        """Where the rows of a shard are put once all are there."""
        return self.folder / ROWS / f"{shard:06d}{PARQUET}"

    def journal(self, shard: int) -> Path:
        """Where they are noted until then."""
        return self.folder / SHARDS / f"{shard:06d}.jsonl"

    def scratch(self, shard: int) -> Path:
        """A folder of its own for files that are needed while it is captioned."""
        return self.journal(shard).with_suffix("")

    def hold(self, shard: int) -> ShardJournal:
        """Hold a shard for as long as its journal is open.

        Raises:
            TakenError: If another process holds it.
        """
        return ShardJournal(self.journal(shard))

    def has(self, shard: int) -> bool:
        """Whether all rows of a shard are in place."""
        return self.part(shard).exists()

    def put(self, shard: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put all rows of a shard in place, unless they are."""
        if not self.has(shard):
            write_part(self.part(shard), rows)

    @property
    def parts(self) -> list[Path]:
        """Rows of finished shards, in order, and nothing that a killed process left beside them."""
        rows = self.folder / ROWS
        found = rows.iterdir() if rows.is_dir() else ()
        return sorted(path for path in found if path.suffix == PARQUET and path.stem.isdigit())

    @property
    def finished(self) -> set[int]:
        """Numbers of finished shards."""
        return {int(path.stem) for path in self.parts}

    @property
    def counts(self) -> Counter[str]:
        """Rows of finished shards by their status."""
        return sum(map(part_counts, self.parts), Counter[str]())

    @property
    def done(self) -> dict[str, Any] | None:
        """What it ended with; None while it has not."""
        file = self.folder / DONE
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def end(self, told: dict[str, Any]) -> None:
        """Say that all is in place."""
        write_json(self.folder / DONE, told)

    def forget(self) -> None:
        """Remove what this machine alone needs of a job that is done."""

    def joining(self) -> AbstractContextManager[None]:
        """Be the only one that joins its rows.

        Raises:
            TakenError: If another process does.
        """
        return owned(self.folder / JOIN)


def read_plan(where: Path | str, found: Any) -> Plan:
    """What a job is, as its file says.

    Raises:
        ConfigError: If it is of another version of vidapt's files.
    """
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        told = found.get("format") if isinstance(found, dict) else "none"
        raise ConfigError(where, f"is in format {told}", "write to another folder")
    return Plan(**found)


def by_request(jobs: Iterable[_Job]) -> list[_Job]:
    """Jobs in order, the oldest of each request first."""
    return sorted(jobs, key=lambda job: (job.plan.request, job.number))
