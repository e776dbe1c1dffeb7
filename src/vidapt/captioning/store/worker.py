"""One process's work on a job: shard after shard is leased, captioned, noted, and put in place."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from vidapt.captioning.engines.protocol import WINDOW
from vidapt.captioning.store.ahead import one_ahead
from vidapt.captioning.store.asked import Asked
from vidapt.captioning.store.jobs import StoredJob
from vidapt.captioning.store.kept import Kept
from vidapt.captioning.store.pace import Pace
from vidapt.captioning.store.rows import priced
from vidapt.captioning.store.shard import Piece, Shard, shards_of
from vidapt.errors import BrokenClip, VidaptError
from vidapt.locks import TakenError
from vidapt.progress import Reporter

_TASK = "caption"


@dataclass(frozen=True)
class Batch:
    """What the engine is given at once.

    Attributes:
        shard: Of which it is.
        members: What is to be captioned.
        last: Whether no other of the shard comes after it.
    """

    shard: Shard
    members: list[Piece]
    last: bool


@dataclass
class Worker:
    """One process's work on a job.

    Attributes:
        asked: What is asked.
        job: The job.
        kept: Rows of earlier ones.
        part: Which shards are its own.
        others: Whether it works on the rest after these.
        workers: Decoding processes.
        report: Told how far it is.
        price: What an hour of this process costs.
        pace: How fast it is.
    """

    asked: Asked
    job: StoredJob
    kept: Kept
    part: tuple[int, int]
    others: bool
    workers: int
    report: Reporter
    price: float | None = None
    _done: float = 0.0
    _queue: deque[Batch] = field(default_factory=deque)
    _open: set[Shard] = field(default_factory=set)
    _stop: Future[None] = field(default_factory=Future)
    _counting: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.pace = Pace(self.asked, self.job.plan.batch, len(self.job.index))

    def carry_out(self) -> None:
        """Caption shard after shard, in one stream, so that decoding is ahead beyond the end of each."""
        sizes = self.job.index.sizes
        mine = list(shards_of(len(sizes), self.part))
        if self.others:
            mine += sorted(set(range(len(sizes))) - set(mine))
        total, finished = sum(sizes[at] for at in mine), self.job.finished
        todo = [at for at in mine if at not in finished]
        self._done = total - sum(sizes[at] for at in todo)
        self.report(_TASK, round(self._done), total)
        self.pace = Pace(self.asked, self.job.plan.batch, total)
        if todo:
            self.pace.measure()
        try:
            with contextlib.closing(one_ahead(self._watched(todo), self._stop, self.pace.meter)) as stream:
                since = time.monotonic()
                for seen in stream:
                    self._caption(self._queue.popleft(), seen, since)
                    since = time.monotonic()
                    self.pace.look()
                    self.report(_TASK, min(total, round(self._done)), total, self.pace.note)
        finally:
            for shard in self._open:
                shard.close()
        self.report(_TASK, total - self._left(mine), total, self.pace.note)

    def _watched(self, todo: Sequence[int]) -> Generator[list[Any | BrokenClip], None, None]:
        """What the engine sees of batches; runs in the thread that looks ahead, and ends there."""
        with (
            contextlib.closing(self._batches(todo)) as batches,
            contextlib.closing(
                self.asked.engine.watch(
                    ([piece.clip for piece in members] for members in batches),
                    workers=self.workers,
                    ahead=2 * WINDOW * self.job.plan.batch,
                    beside=self.asked.text_tokens,
                    meter=self.pace.meter,
                    stop=self._stop,
                )
            ) as stream,
        ):
            yield from stream

    def _left(self, mine: Sequence[int]) -> int:
        finished = self.job.finished
        return sum(self.job.index.sizes[at] for at in mine if at not in finished)

    def _batches(self, todo: Sequence[int]) -> Generator[list[Piece], None, None]:
        """Batches of all shards that nobody else holds, the next of which is read while one is captioned.

        What holds nothing to caption is finished at once: held until the next batch, there may be thousands.
        """
        for shard in self._shards(todo):
            batches = shard.batches(WINDOW * self.job.plan.batch)
            known = 1 - sum(map(len, batches)) / max(1, len(shard.pieces))
            with self._counting:
                self._done += known * len(shard.inputs)
            if not batches:
                self._finish(shard)
            for number, members in enumerate(batches, start=1):
                self._queue.append(Batch(shard, members, number == len(batches)))
                yield members

    def _shards(self, todo: Sequence[int]) -> Iterator[Shard]:
        with ThreadPoolExecutor(1, thread_name_prefix="vidapt-shard") as ahead:
            coming = ahead.submit(self._leased, todo[0]) if todo else None
            for at in range(len(todo)):
                assert coming is not None
                shard = coming.result()
                coming = ahead.submit(self._leased, todo[at + 1]) if at + 1 < len(todo) else None
                if shard is not None and not shard.done:
                    yield shard

    def _leased(self, number: int) -> Shard | None:
        """A shard; None if another process holds it."""
        try:
            shard = Shard(
                self.job, number, self.asked.key, self.kept, self.asked.cutting, self.workers, self._stop
            )
        except TakenError:
            return None
        if shard.done:
            shard.close()
        else:
            self._open.add(shard)
        return shard

    def _caption(self, batch: Batch, seen: Sequence[Any | BrokenClip], since: float) -> None:
        shard, members = batch.shard, batch.members
        sound = [one for one in seen if not isinstance(one, BrokenClip)]
        said = iter(self.asked.answers(sound, self.job.plan.batch))
        share = (time.monotonic() - since) / len(members)
        rows = []
        for piece, one in zip(members, seen, strict=True):
            found = one if isinstance(one, BrokenClip) else next(said)
            if shard.is_done(piece):
                continue  # it was noted before the batch was interrupted
            if isinstance(one, BrokenClip):
                rows.append(self.asked.failed(piece, type(one).__name__, one.reason, share))
            elif isinstance(found, VidaptError):
                rows.append(self.asked.failed(piece, type(found).__name__, found.found, share))
            else:
                rows.append(self.asked.row(piece, one, found, share))
        shard.note(priced(rows, self.price))
        with self._counting:
            self.pace.add(rows)
            self._done += len(shard.inputs) * len(members) / max(1, len(shard.pieces))
        if batch.last:
            self._finish(shard)

    def _finish(self, shard: Shard) -> None:
        # By one thread at a time: both look rows of earlier jobs up, and count.
        with self._counting:
            rows = shard.put(self._other, self.asked.taken_over)
            unread = {one.name for one in shard.pieces if one.wrong is not None}
            self.pace.add([row for row in rows if row["clip"] in unread])
            self._open.discard(shard)

    def _other(self, piece: Piece) -> dict[str, Any]:
        """The row of a piece that was neither captioned nor taken over."""
        if Shard.skips(piece):
            return self.asked.skipped(piece)
        assert piece.wrong is not None
        return self.asked.failed(piece, *piece.wrong)
