"""Decodes clips ahead of whoever uses them, in processes that may die without taking the job along."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any

from vidapt.errors import BrokenClip, ConfigError, VidaptError
from vidapt.nouns import Clip, Frames
from vidapt.video import worker
from vidapt.video.choose import Policy
from vidapt.video.limits import DEFAULT, Limits
from vidapt.video.worker_process import Gate, Worker, WorkerDiedError

START_PAUSES_S = (0.0, 1.0, 5.0)
"""Seconds before each try to start a worker: what killed one that started may pass."""

AHEAD_BYTES = 1024**3
"""Decoded frames that wait to be handed out; beyond that no more clips are taken, whatever `ahead` says."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be decoded.

    Attributes:
        clip: Of which clip.
        policy: Which moments.
        size: (height, width) to resize to; None keeps the file's size.
    """

    clip: Clip
    policy: Policy
    size: tuple[int, int] | None = None


@dataclass
class Meter:
    """How well decoding keeps up with whoever uses its frames.

    Attributes:
        waited_s: Seconds for which nothing could be done but to wait for frames that were not decoded yet.
        ready: Clips that were decoded and not yet taken when one was taken last.
        idle_since: When whoever works beside the one that takes frames was last without work, by the
            monotonic clock; None while there is some. Where nobody else works, it is always.
    """

    waited_s: float = 0.0
    ready: int = 0
    idle_since: float | None = 0.0

    def waited(self, since: float) -> None:
        """Count a wait for frames that ends now, as far as nobody worked beside it."""
        idle = self.idle_since
        if idle is not None:
            self.waited_s += time.monotonic() - max(since, idle)

    @contextmanager
    def idle(self) -> Generator[None, None, None]:
        """While whoever works beside the one that takes frames has nothing to do."""
        self.idle_since = time.monotonic()
        yield
        self.idle_since = None


def decode_ahead(
    clips: Iterable[Clip],
    policy: Policy,
    *,
    size: tuple[int, int] | None = None,
    workers: int = 2,
    ahead: int = 8,
    limits: Limits = DEFAULT,
) -> Iterator[tuple[Clip, Frames | BrokenClip]]:
    """Decode clips in the background and hand them out in the order they were given.

    Args:
        clips: What to decode; taken lazily, `ahead` at a time.
        policy: Which moments to take of each.
        size: (height, width) to resize to; None keeps each file's size.
        workers: Decoding processes. One that crashes, hangs or is killed is replaced. The clip it was working
            on is tried once more, alone, unless it hung; one that ends two workers is broken. With 0, one
            thread of this process decodes.
        ahead: Most clips that are decoded or being decoded and not yet handed out.
        limits: What one clip may cost.

    Yields:
        Each clip with its frames, or with what is wrong with it.

    Raises:
        ConfigError: If `workers` is below 0.
        VidaptError: If no worker can be started, however often.
    """
    wanted = (Wanted(clip, policy, size) for clip in clips)
    return decode_each(wanted, workers=workers, ahead=ahead, limits=limits)


def decode_each(
    wanted: Iterable[Wanted],
    *,
    workers: int = 2,
    ahead: int = 8,
    limits: Limits = DEFAULT,
    meter: Meter | None = None,
    stop: Future[None] | None = None,
) -> Iterator[tuple[Clip, Frames | BrokenClip]]:
    """The same where every clip has moments and a size of its own.

    `meter` is told of waiting. Once `stop` has a result nothing is waited for any more, and no more comes.
    """
    meter = meter or Meter()
    stop = stop or Future()
    if workers < 0:
        raise ConfigError("workers", f"{workers} decoding processes cannot be", "give 0 or more")
    crew = Crew(workers, limits)
    executor = ThreadPoolExecutor(max(1, workers), thread_name_prefix="vidapt-decode")
    waiting: deque[tuple[Clip, Future[Frames | BrokenClip]]] = deque()
    source = iter(wanted)
    try:
        while True:
            room = max(1, workers, ahead) - len(waiting)
            for one in islice(source, room if not waiting or _held(waiting) < AHEAD_BYTES else 0):
                waiting.append((one.clip, executor.submit(crew.decode, one.clip, one.policy, one.size)))
            if not waiting:
                return
            clip, future = waiting.popleft()
            since = time.monotonic()
            either: tuple[Future[Any], ...] = (future, stop)
            wait(either, return_when=FIRST_COMPLETED)
            if stop.done():
                return
            found = future.result()
            meter.waited(since)
            meter.ready = sum(other.done() for _, other in waiting)
            yield clip, found
    finally:
        for _, future in waiting:
            future.cancel()
        crew.stop()
        executor.shutdown(wait=True)
        crew.dismiss()


class Crew:
    """Processes that each decode one clip at a time, for as long as somebody has clips.

    Args:
        workers: How many, and from how many threads `decode` is called at most; see `decode_ahead`.
        limits: What one clip may cost.
    """

    def __init__(self, workers: int, limits: Limits) -> None:
        self._limits = limits
        self._workers = workers
        self._stopped = Event()
        self._idle: SimpleQueue[Worker | None] = SimpleQueue()
        self._hired: set[Worker] = set()
        self._gate = Gate()
        self._places = workers
        self._counting = Lock()
        for _ in range(workers):
            self._idle.put(None)  # started when first needed, in the thread that needs it

    def decode(self, clip: Clip, policy: Policy, size: tuple[int, int] | None) -> Frames | BrokenClip:
        """Decode a clip; one whose worker dies is tried once more, while no other clip is decoded.

        The kernel shoots whoever is largest when memory runs out, which need not be the clip's fault.
        """
        if self._workers == 0:
            stopped = self._stopped.is_set()
            return _unwanted(clip) if stopped else worker.attempt(clip, policy, size, self._limits)
        try:
            with self._gate.shared():
                return self._decode(clip, policy, size)
        except WorkerDiedError as first:
            try:
                with self._gate.alone():
                    return self._decode(clip, policy, size)
            except WorkerDiedError as second:
                return BrokenClip(clip.path, f"its decoder died twice ({first}; alone: {second})")

    def _decode(self, clip: Clip, policy: Policy, size: tuple[int, int] | None) -> Frames | BrokenClip:
        hand = self._take()
        try:
            if hand is None or self._stopped.is_set():
                return _unwanted(clip)
            return hand.decode(clip, policy, size, self._limits)
        finally:
            if hand is not None and not hand.alive:
                self._hired.discard(hand)
                hand = None
            self._idle.put(hand)

    def _take(self) -> Worker | None:
        """An idle worker, if need be a new one; None once all is stopped.

        Raises:
            VidaptError: If none can be started and there is no other.
        """
        while not self._stopped.is_set():
            hand = self._idle.get()
            if hand is not None and hand.is_running:
                return hand
            if hand is not None:  # it died while it had nothing to do
                hand.end()
                self._hired.discard(hand)
            try:
                return self._hire()
            except VidaptError:
                with self._counting:
                    self._places -= 1
                    if self._places == 0:
                        self._places = 1
                        self._idle.put(None)
                        raise
        return None

    def _hire(self) -> Worker | None:
        """Start a worker, several times if it dies on the way."""
        for last, pause in enumerate(START_PAUSES_S, 1 - len(START_PAUSES_S)):
            if self._stopped.wait(pause):
                break
            hand: Worker | None = None
            try:
                hand = Worker()
                self._hired.add(hand)  # before it is ready, so that `stop` need not wait for that
                if not self._stopped.is_set():
                    hand.await_ready()
            except VidaptError:
                if hand is not None:
                    self._hired.discard(hand)
                if last == 0 and not self._stopped.is_set():
                    raise
            else:
                return hand
        return None

    def stop(self) -> None:
        """Let every call of `decode` that is under way return soon, whatever it is doing."""
        self._stopped.set()
        for hand in list(self._hired):
            hand.kill()
        for _ in range(self._workers):
            self._idle.put(None)  # whoever waits for a worker need not get one

    def dismiss(self) -> None:
        """End all processes; only when no call of `decode` is under way."""
        for hand in self._hired:
            hand.end()


def _held(waiting: Iterable[tuple[Clip, Future[Frames | BrokenClip]]]) -> int:
    """Bytes of the frames that are decoded and were not handed out yet."""
    done = [future.result() for _, future in waiting if future.done() and future.exception() is None]
    return sum(frames.pixels.nbytes for frames in done if isinstance(frames, Frames))


def _unwanted(clip: Clip) -> BrokenClip:
    return BrokenClip(clip.path, "it was not wanted any more")
