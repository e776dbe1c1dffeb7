"""Captioning a store, as one of any number of processes that do."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidapt.captioning.bulk import cores
from vidapt.captioning.chunks import Cutting
from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.engines.protocol import CaptionEngine
from vidapt.captioning.namesakes import folder_of
from vidapt.captioning.places import Place, as_place
from vidapt.captioning.store.asked import Asked
from vidapt.captioning.store.copies import mark_copies
from vidapt.captioning.store.inputs import Listing
from vidapt.captioning.store.jobs import StoredJob
from vidapt.captioning.store.kept import Kept
from vidapt.captioning.store.opening import open_job
from vidapt.captioning.store.outputs import check_outputs, join
from vidapt.captioning.store.remote import store_at
from vidapt.captioning.store.rows import DONE, FAILED, SKIPPED, priced
from vidapt.captioning.store.shape import Schema
from vidapt.captioning.store.shard import Piece, Shard, shards_of
from vidapt.captioning.store.stores import Store
from vidapt.errors import BrokenClip, ConfigError, VidaptError
from vidapt.inference.diversity import PLAIN, Diversity
from vidapt.inference.engine import CAPTION_PROMPT
from vidapt.inference.several import Several
from vidapt.locks import TakenError
from vidapt.models.decoding import Decoding
from vidapt.progress import Reporter, silent
from vidapt.video import Meter

SHARD = 512
"""Inputs of a shard: what one process takes at a time, and what one file of rows holds."""

WINDOW = 4
"""Times as many clips as are answered at a time are given to the engine at once, so that as some end others
take their places. What is killed within is captioned again as a whole: with the same clips given, in the same
order, the model computes the same bits."""

_TASK = "caption"
_WORTH = 64
"""Clips of a job for which the device's speed is measured."""


@dataclass(frozen=True)
class StoreSummary:
    """What one process did for a store.

    Attributes:
        out: The store.
        captioned: Rows it captioned.
        kept: Captions that are in place beside these: of other processes, or of earlier jobs.
        failed: Clips in place without a caption.
        skipped: Clips that show the same as another one.
        inputs: Clips of the whole job.
        left: Clips of shards that are not in place; others are at them, or will be.
        outputs: Files that were put in place as the last shard came.
        left_out: Captioned clips that one of these cannot hold, by file.
        ignored: How many files were not clips, by suffix.
        seconds: How long it took.
        clips_per_s: Captioned clips by the time from the first to the last.
        waited: Share of that time for which the device waited for frames.
        limit: Clips per second that the device could caption at best; None where that is not known.
    """

    out: Place
    captioned: int
    kept: int
    failed: int
    skipped: int
    inputs: int
    left: int
    outputs: Sequence[Place]
    left_out: dict[str, int]
    ignored: dict[str, int]
    seconds: float
    clips_per_s: float
    waited: float
    limit: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"out": str(self.out), "outputs": [str(path) for path in self.outputs]}

    def row(self) -> list[str]:
        """As a line of a table."""
        counts = [self.captioned, self.kept, self.failed, self.skipped, self.left]
        share = "" if self.limit is None else f"{self.clips_per_s / self.limit:.0%}"
        rate = [f"{self.clips_per_s:.3g}", share, f"{self.waited:.0%}", f"{self.seconds:.1f}"]
        return [*map(str, counts), *rate]


def caption_store(
    engine: CaptionEngine[Any],
    sources: Place | Sequence[Place],
    out: Place,
    *,
    prompts: Sequence[str] = (CAPTION_PROMPT,),
    decoding: Decoding | None = None,
    n: int = 1,
    diversity: str | Path | Diversity | None = None,
    schema: Schema | None = None,
    part: tuple[int, int] = (1, 1),
    others: bool = False,
    again: bool = False,
    outputs: Sequence[Place] = (),
    dedup: bool = False,
    albums: bool = False,
    fps: float | None = None,
    chunk: float | str | None = None,
    overlap: float = 0.0,
    workers: int | None = None,
    batch: int | None = None,
    shard: int = SHARD,
    price: float | None = None,
    report: Reporter = silent,
) -> StoreSummary:
    """Caption clips into a folder: one row for each, in Parquet files of a shard each, and in the end in one.

    Any number of processes, on any machines that see the folder, may do this at once: a shard belongs to one
    of them, and what a killed one leaves is taken over by the next that comes. A job goes on with the clips
    that it listed when it began. Once it is finished, the next one lists anew, takes over the rows of what
    has not changed, and tries what failed again. Rows of other questions stay, too, and are used again.

    Args:
        engine: Who writes captions.
        sources: Folders, clips, lists (`path`, `start_s`, `end_s`), label files, tar files, or patterns;
            addresses of objects as well.
        out: The folder, or the address of one in an object store.
        prompts: What the model is asked about each clip; all behind one copy of what it sees.
        decoding: How tokens are chosen; None is greedy.
        n: Captions of each clip, in its one row; of its decoding then only `max_new_tokens` counts.
        diversity: How these come to differ, as `inference.diversity` has it.
        schema: What answers are to be, if they are to be JSON.
        part: `(i, n)`: work on every n-th shard from the i-th on, counted from 1.
        others: Work on the shards of the other parts after that, as far as nobody holds them.
        again: Begin anew where the job is finished, also for a part: list, and try again what failed.
        outputs: Files that all rows are joined into beside `captions.parquet`; see `outputs.join`.
        dedup: Clips that show the same as another one are not captioned; their rows say of which.
        albums: A folder with pictures and no video is one clip.
        fps: Pictures per second of such folders.
        chunk: Cut films into stretches of so many seconds, or where `shots` cut them.
        overlap: Seconds for which a stretch goes on into the next one.
        workers: Decoding processes; None is one per core.
        batch: Clips answered at a time in a new job; None decides by what there is memory for.
        shard: Clips of a shard in a new job.
        price: What an hour of this process costs, for the column `cost`; None where nobody knows.
        report: Told how far the work is.

    Raises:
        ConfigError: If there is no clip, or an option cannot be.
        FormatError: If a list, a label file or a tar file cannot be read.
        VidaptError: If the disk is full; finished rows are kept.
    """
    started = time.monotonic()
    given = [as_place(one) for one in ([sources] if isinstance(sources, Path | str) else sources)]
    check_part(part)
    store = store_at(as_place(out))
    store.check()
    outputs = [as_place(one) for one in outputs]
    check_outputs(store, outputs)
    several, chosen = None, decoding or Decoding()
    if n != 1 or diversity is not None:
        several = _several(engine, prompts[0], n, diversity or PLAIN, chosen.max_new_tokens)
    asked = Asked.of(
        engine,
        prompts,
        chosen,
        Cutting.of(chunk, overlap),
        schema,
        folder_of(given[0] if len(given) == 1 else given),
        several,
    )
    listing = Listing(given, albums, fps, dedup)
    alone = again or part == (1, 1)
    job = open_job(
        store,
        asked.settings,
        listing,
        shard,
        batch or asked.batch,
        asked.told,
        alone=alone,
        mark=(lambda path: mark_copies(path, cores(workers), report)) if dedup else None,
        report=report,
    )
    work = _Work(asked, job, _kept(store, job), part, others, cores(workers), report, price)
    if job.done is None:
        work.carry_out()
    made = join(store, job, outputs, report)
    totals, finished = job.counts, job.finished
    if len(finished) == len(job.index.sizes):
        job.forget()
    return StoreSummary(
        out=store.place,
        captioned=work.captioned,
        kept=totals[DONE] - work.captioned,
        failed=totals[FAILED],
        skipped=totals[SKIPPED],
        inputs=len(job.index),
        left=sum(size for at, size in enumerate(job.index.sizes) if at not in finished),
        outputs=list(made),
        left_out={str(path): count for path, count in made.items() if count},
        ignored=job.plan.ignored,
        seconds=time.monotonic() - started,
        clips_per_s=work.rate,
        waited=work.waited,
        limit=work.limit,
    )


def _several(
    engine: CaptionEngine[Any], prompt: str, n: int, way: str | Path | Diversity, longest: int
) -> Several:
    if not isinstance(engine, Builtin):
        raise ConfigError("--n", "a server is asked for one answer", "leave it out, or ask several questions")
    return Several.of(engine.engine, prompt, n, way, longest)


def check_part(part: tuple[int, int]) -> None:
    """Refuse a part of the work that there is none of.

    Raises:
        ConfigError: If it is not one of 1 to n.
    """
    if not 1 <= part[0] <= part[1]:
        raise ConfigError("--shard", f"is {part[0]}/{part[1]}", "give 1/4, 2/4, ... for four processes")


def _kept(store: Store, job: StoredJob) -> Kept:
    others = [other for other in store.jobs() if other.name != job.name]
    return Kept(path for other in others for path in other.parts)


@dataclass
class _Work:
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
        captioned: Rows it captioned.
        rate: Clips captioned per second.
        waited: Share of the time for which the device waited for frames.
        limit: Clips per second that the device could caption at best; None where that is not known.
    """

    asked: Asked
    job: StoredJob
    kept: Kept
    part: tuple[int, int]
    others: bool
    workers: int
    report: Reporter
    price: float | None = None
    captioned: int = 0
    rate: float = 0.0
    waited: float = 0.0
    limit: float | None = None
    _new: int = 0
    _visual: int = 0
    _done: float = 0.0
    _broken: int = 0
    _meter: Meter = field(default_factory=Meter)
    _queue: deque[tuple[Shard, list[Piece], bool]] = field(default_factory=deque)
    _open: set[Shard] = field(default_factory=set)

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
        batches = self._batches(todo)
        clips = ([piece.clip for piece in members] for members in batches)
        began = since = time.monotonic()
        ahead = 2 * WINDOW * self.job.plan.batch
        try:
            stream = self.asked.engine.watch(
                clips, workers=self.workers, ahead=ahead, beside=self.asked.text_tokens, meter=self._meter
            )
            with contextlib.closing(stream), contextlib.closing(batches):
                for seen in stream:
                    shard, members, last = self._queue.popleft()
                    self._caption(shard, members, seen, since)
                    since = time.monotonic()
                    self._done += len(shard.inputs) * len(members) / max(1, len(shard.pieces))
                    if last:
                        self._finish(shard)
                    self.rate = self.captioned / max(1e-6, since - began)
                    self.waited = min(1.0, self._meter.waited_s / max(1e-6, since - began))
                    if self.limit is None and total >= _WORTH:
                        self.limit = self._best()
                    self.report(_TASK, min(total, round(self._done)), total, self._note())
        finally:
            for shard in self._open:
                shard.close()
        self.report(_TASK, total - self._left(mine), total, self._note())

    def _left(self, mine: Sequence[int]) -> int:
        finished = self.job.finished
        return sum(self.job.index.sizes[at] for at in mine if at not in finished)

    def _best(self) -> float | None:
        """Clips per second, by the lengths of the captions so far."""
        if not self.captioned:
            return None
        new, visual = self._new / self.captioned, self._visual / self.captioned
        read, answers = visual + self.asked.text_tokens, self.asked.answers_each
        least = self.asked.engine.seconds(read, new, self.job.plan.batch, answers)
        return None if least is None else 1 / least

    def _note(self) -> str:
        share = "" if self.limit is None else f" ({self.rate / self.limit:.0%} of what the device can)"
        told = [f"{self.rate:.3g} clips/s{share}", f"waited for frames {self.waited:.0%}"]
        told += [f"{self._meter.ready} decoded ahead"] if self._meter.ready else []
        return ", ".join([*told, f"{self._broken} failed"] if self._broken else told)

    def _batches(self, todo: Sequence[int]) -> Generator[list[Piece], None, None]:
        """Batches of all shards that nobody else holds, the next of which is read while one is captioned."""
        for shard in self._shards(todo):
            batches = shard.batches(WINDOW * self.job.plan.batch)
            reused = len(shard.pieces) - sum(map(len, batches))
            self._done += len(shard.inputs) * reused / max(1, len(shard.pieces))
            if not batches:
                self._finish(shard)
            for number, members in enumerate(batches, start=1):
                self._queue.append((shard, members, number == len(batches)))
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
            shard = Shard(self.job, number, self.asked.key, self.kept, self.asked.cutting, self.workers)
        except TakenError:
            return None
        if shard.done:
            shard.close()
        else:
            self._open.add(shard)
        return shard

    def _caption(
        self, shard: Shard, members: Sequence[Piece], seen: Sequence[Any | BrokenClip], since: float
    ) -> None:
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
        self.captioned += sum(row["status"] == DONE for row in rows)
        self._new += sum(row["new_tokens"] or 0 for row in rows)
        self._visual += sum(row["visual_tokens"] or 0 for row in rows)
        self._broken += sum(row["status"] == FAILED for row in rows)
        shard.note(priced(rows, self.price))

    def _finish(self, shard: Shard) -> None:
        shard.put(self._other, self.asked.taken_over)
        self._open.discard(shard)

    def _other(self, piece: Piece) -> dict[str, Any]:
        """The row of a piece that was neither captioned nor taken over."""
        if Shard.skips(piece):
            return self.asked.skipped(piece)
        assert piece.wrong is not None
        return self.asked.failed(piece, *piece.wrong)
