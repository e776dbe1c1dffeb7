"""A part of a job that one process works on: leased, noted row by row, and put in place as one file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.captioning.chunks import Cutting, cut
from vidapt.captioning.fetched import Source
from vidapt.captioning.found import readable
from vidapt.captioning.places import is_address, kind_of
from vidapt.captioning.store.inputs import Input
from vidapt.captioning.store.jobs import StoredJob
from vidapt.captioning.store.kept import Kept
from vidapt.captioning.store.rows import DONE
from vidapt.digests import digest
from vidapt.errors import BudgetError, VidaptError
from vidapt.nouns import Clip
from vidapt.video.identity import identity

MOST_BYTES = 4 << 30
"""Bytes of a clip that is fetched from an object store."""

_FETCHED_AT_ONCE = 8
_COPIED = 1 << 20
_DIGITS = 24
"""Of a content's hash, as keys have them."""


class StoppedError(Exception):
    """Nobody wants the shard any more."""


@dataclass(frozen=True)
class Piece:
    """What one row is about: an input, or a stretch of it.

    Attributes:
        name: Of the row.
        input: What it is of.
        clip: As a decoder takes it. Its id is the content, so that what is drawn by chance for it does not
            depend on where it lies.
        content: Hash of what is in the file; empty where it cannot be read.
        stamp: Hash of the file's place, size and times.
        key: Of the row; empty as `content`.
        notes: What is to be told with its captions.
        cut: Whether it was cut from its input.
        wrong: Class and words of what is wrong with it already.
    """

    name: str
    input: Input
    clip: Clip
    content: str = ""
    stamp: str = ""
    key: str = ""
    notes: tuple[str, ...] = ()
    cut: bool = False
    wrong: tuple[str, str] | None = None


class Shard:
    """A leased shard.

    Args:
        job: What it is part of.
        number: Which one.
        key: Gives the key of a piece's row.
        kept: Rows of earlier jobs.
        cutting: How films are cut.
        workers: Decoding processes for measuring films.
        stop: Once it has a result, nothing is read any more.

    Attributes:
        inputs: What it holds.
        pieces: What is to have a row, in order.

    Raises:
        TakenError: If another process holds it.
        StoppedError: If it was stopped while it was read.
    """

    def __init__(
        self,
        job: StoredJob,
        number: int,
        key: Callable[[Piece], str],
        kept: Kept,
        cutting: Cutting | None,
        workers: int | None,
        stop: Future[None],
    ) -> None:
        self.number, self._job, self._stop = number, job, stop
        self._journal = job.hold(number)
        self._key, self._kept = key, kept
        self._scratch = job.scratch(number)
        try:
            self.done = job.has(number)
            self.inputs = job.index.shard(number)
            whole = [] if self.done else self._read_all()
            self.pieces = self._cut(whole, cutting, workers) if cutting else whole
        except BaseException:
            self.close()
            raise

    @property
    def open(self) -> list[Piece]:
        """Pieces that are to be captioned by this job, whether they are by now or not."""
        return [
            one for one in self.pieces if one.wrong is None and not self.skips(one) and not self.takes(one)
        ]

    def takes(self, piece: Piece) -> bool:
        """Whether an earlier job's row is taken over."""
        return bool(piece.key) and piece.key in self._kept

    @staticmethod
    def skips(piece: Piece) -> bool:
        """Whether it shows what another clip does."""
        return piece.input.like is not None

    def batches(self, size: int) -> list[list[Piece]]:
        """Batches in which something is missing; at the end, what failed before this process began.

        A batch that was interrupted is made again as a whole, so that the model computes the same bits.
        Whatever killed the job may have killed decoders before, so what failed gets another chance.
        """
        todo = self.open
        failed = {one.name for one in todo if self.has(one) and self._row(one)["status"] != DONE}
        found = []
        for start in range(0, len(todo), size):
            members = todo[start : start + size]
            if not all(self.has(one) for one in members):
                found.append([one for one in members if one.name not in failed])
        again = [one for one in todo if one.name in failed]
        return found + [again[start : start + size] for start in range(0, len(again), size)]

    def has(self, piece: Piece) -> bool:
        """Whether a row of the piece, as it is now, is noted."""
        row = self._journal.rows.get(piece.name)
        return row is not None and row["key"] == piece.key

    def is_done(self, piece: Piece) -> bool:
        """Whether it is captioned."""
        return self.has(piece) and self._row(piece)["status"] == DONE

    def note(self, rows: Sequence[dict[str, Any]]) -> None:
        """Note rows, and wait until they survive a loss of power."""
        for row in rows:
            self._journal.note(row)
        self._journal.sync()

    def put(
        self,
        other: Callable[[Piece], dict[str, Any]],
        taken: Callable[[Piece, dict[str, Any]], dict[str, Any]],
    ) -> list[dict[str, Any]]:
        """Put all rows in place, and let the shard go.

        Args:
            other: Gives the row of a piece that is neither captioned nor taken over.
            taken: Gives the row of a piece from an earlier job's.

        Returns:
            The rows.
        """
        rows = []
        for one in self.pieces:
            if self.takes(one) and not self.skips(one):
                rows.append(taken(one, self._kept.row(one.key)))
            else:
                rows.append(self._row(one) if self.has(one) else other(one))
        self._job.put(self.number, rows)
        self._journal.remove()
        self.close()
        return rows

    def close(self) -> None:
        """Let others have it; what is noted stays."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._journal.close()

    def _row(self, piece: Piece) -> dict[str, Any]:
        return self._journal.rows[piece.name]

    def _read_all(self) -> list[Piece]:
        """All inputs with their contents; what lies in object stores is fetched, some at a time."""
        sources = {kind_of(one.path): one.path for one in self.inputs if is_address(one.path)}
        self._sources = {kind: Source(url) for kind, url in sources.items()}
        if not sources:
            return [self._read(at, one) for at, one in enumerate(self.inputs)]
        with ThreadPoolExecutor(_FETCHED_AT_ONCE, thread_name_prefix="vidapt-fetch") as pool:
            return list(pool.map(self._read, range(len(self.inputs)), self.inputs))

    def _read(self, at: int, one: Input) -> Piece:
        """An input with its content; one that cannot be read has none."""
        self._go_on()
        piece = Piece(one.name, one, one.clip)
        if one.wrong is not None:
            return replace(piece, wrong=(one.error or "FormatError", one.wrong))
        source = self._sources.get(kind_of(one.path)) if is_address(one.path) else None
        try:
            stamp = _stamp(one, source)
            content = self._kept.content(stamp) if stamp else None
            if content is not None:
                piece = self._known(piece, content, stamp)
                if (one.offset is None and source is None) or self.takes(piece):
                    return piece
            path = self._here(at, one, source)
            return self._known(
                replace(piece, clip=replace(piece.clip, path=path)), identity(path)[:_DIGITS], stamp
            )
        except OSError as error:
            reason = error.strerror or "there is no such object"
            return replace(piece, wrong=(type(error).__name__, f"it cannot be read ({reason})"))
        except VidaptError as error:
            if not isinstance(error, BudgetError) and not isinstance(error.__cause__, PermissionError):
                raise  # the store is away, which is not the clip's fault
            return replace(piece, wrong=(type(error).__name__, error.found))

    def _known(self, piece: Piece, content: str, stamp: str) -> Piece:
        """The same with its content, by which it is called, and its key."""
        known = replace(piece, content=content, stamp=stamp, clip=replace(piece.clip, id=content))
        return replace(known, key=self._key(known))

    def _here(self, at: int, one: Input, source: Source | None) -> Path:
        """A file with what an input holds: its own, or one with what a tar file or an object store holds."""
        if one.offset is None and source is None:
            return Path(one.path)
        self._scratch.mkdir(parents=True, exist_ok=True)
        suffix = Path(one.name if one.offset is not None else one.path).suffix
        target = self._scratch / f"{at:06d}{suffix}"
        part = None if one.offset is None or one.size is None else (one.offset, one.size)
        if source is not None:
            source.fetch(one.path, target, MOST_BYTES, part)
        else:
            assert part is not None
            _unpack(Path(one.path), target, *part)
        return target

    def _go_on(self, *_: object, **__: object) -> None:
        """Whoever stops a job does not wait until hundreds of inputs are read and cut."""
        if self._stop.done():
            raise StoppedError

    def _cut(self, whole: Sequence[Piece], cutting: Cutting, workers: int | None) -> list[Piece]:
        """Pieces of films; what is a stretch already, or is not captioned anyhow, stays as it is."""
        films = {
            digest([one.name, one.key]): one
            for one in whole
            if one.wrong is None and one.clip.end_s is None and not one.clip.start_s and not self.skips(one)
        }
        clips = {key: replace(one.clip, id=one.name) for key, one in films.items()}
        found = cut(clips, cutting, self._journal, "", workers=workers, report=self._go_on)
        of: dict[str, list[Piece]] = {}
        by_name = {one.name: one for one in films.values()}
        for key, clip in found.clips.items():
            name = clip.id if clip.end_s is None else clip.id.rpartition("@")[0]
            film = by_name[name]
            own = replace(clip, id=film.content)
            piece = replace(
                film, name=clip.id, clip=own, notes=found.notes.get(key, ()), cut=clip.end_s is not None
            )
            of.setdefault(name, []).append(replace(piece, key=self._key(piece)))
        for name, reason in found.broken.items():
            of[name] = [replace(by_name[name], wrong=("BrokenClip", reason))]
        return [piece for one in whole for piece in of.get(one.name, [one])]


def shards_of(count: int, part: tuple[int, int]) -> Iterator[int]:
    """Numbers of the shards that part `i` of `n` works on, counted from 1."""
    index, parts = part
    return iter(range(index - 1, count, parts))


def _unpack(path: Path, target: Path, offset: int, left: int) -> None:
    with path.open("rb") as tar, target.open("wb") as file:
        tar.seek(offset)
        while left and (block := tar.read(min(left, _COPIED))):
            file.write(block)
            left -= len(block)


def _stamp(one: Input, source: Source | None) -> str:
    """Hash of what changes where a file is written to: place, size, times, and the bytes of a tar file."""
    if source is not None:
        size, changes = source.told(one.path)
        return digest([one.path, size, changes, one.offset, one.size]) if changes else ""
    status = os.stat(one.path)  # noqa: PTH116 - a path as the system has it
    known = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, one.offset, one.size]
    if os.path.isdir(one.path):  # noqa: PTH112 - the times of a folder say nothing of its files' content
        return ""
    return digest([readable(one.path), *known])
