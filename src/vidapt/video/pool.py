"""Decodes clips ahead of whoever uses them, in processes that may die without taking the job along."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from vidapt.errors import BrokenClip, ConfigError, VidaptError
from vidapt.nouns import Clip, Frames
from vidapt.video import worker
from vidapt.video.choose import Policy
from vidapt.video.limits import DEFAULT, Limits

_START_S = 120.0  # a machine under load may take long to import numpy
_GRACE_S = 15.0  # workers look at the clock between packets; one that does not get there is stuck
_MAIN = "import sys; from vidapt.video.worker import main; main(int(sys.argv[1]))"


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
        workers: Decoding processes. A worker that crashes, hangs or is killed costs the clip it was
            working on and is replaced. With 0, one thread of this process decodes.
        ahead: Most clips that are decoded or being decoded and not yet handed out.
        limits: What one clip may cost.

    Yields:
        Each clip with its frames, or with what is wrong with it.

    Raises:
        ConfigError: If `workers` is below 0.
        VidaptError: If a worker cannot be started.
    """
    if workers < 0:
        raise ConfigError("workers", f"{workers} decoding processes cannot be", "give 0 or more")
    crew = _Crew(workers, limits)
    executor = ThreadPoolExecutor(max(1, workers), thread_name_prefix="vidapt-decode")
    waiting: deque[tuple[Clip, Future[Frames | BrokenClip]]] = deque()
    source = iter(clips)
    try:
        while True:
            room = max(1, workers, ahead) - len(waiting)
            for clip in islice(source, room):
                waiting.append((clip, executor.submit(crew.decode, clip, policy, size)))
            if not waiting:
                return
            clip, future = waiting.popleft()
            yield clip, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
        crew.stop()
        executor.shutdown(wait=True)
        crew.dismiss()


class _Crew:
    """The workers; each decodes one clip at a time. Called from as many threads as there are workers."""

    def __init__(self, workers: int, limits: Limits) -> None:
        self._limits = limits
        self._workers = workers
        self._stopped = Event()
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()
        self._hired: set[_Worker] = set()
        for _ in range(workers):
            self._idle.put(None)  # started when first needed, in the thread that needs it

    def decode(self, clip: Clip, policy: Policy, size: tuple[int, int] | None) -> Frames | BrokenClip:
        if self._stopped.is_set():
            return _unwanted(clip)
        if self._workers == 0:
            return worker.attempt(clip, policy, size, self._limits)
        hand = self._idle.get()
        try:
            if hand is None and not self._stopped.is_set():
                hand = _Worker()
                self._hired.add(hand)  # before it is ready, so that `stop` need not wait for that
            if hand is None or self._stopped.is_set():
                return _unwanted(clip)
            hand.await_ready()
            return hand.decode(clip, policy, size, self._limits)
        finally:
            if hand is not None and not hand.alive:
                self._hired.discard(hand)
                hand = None
            self._idle.put(hand)

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


class _Worker:
    """One decoding process and the line to it.

    It is started as a module of its own rather than by `multiprocessing`, which would run the caller's
    main script again in the child. It has a session of its own: Ctrl-C is for the process that asked, which
    then hangs up, and would else end the worker in the middle of its imports.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self._line = Connection(ours.detach())
        self._ready = False
        self.alive = True

    def await_ready(self) -> None:
        """Wait until it takes clips.

        Raises:
            VidaptError: If it does not get there.
        """
        if self._ready:
            return
        try:
            self._ready = self._line.poll(_START_S) and self._line.recv_bytes() == worker.READY
        except (EOFError, OSError):
            self._ready = False
        if not self._ready:
            code = self.end()
            raise VidaptError(
                "decode worker",
                f"the process could not be started (exit code {code})",
                "its own message is above; decoding with workers=0 needs no process",
            )

    def decode(
        self, clip: Clip, policy: Policy, size: tuple[int, int] | None, limits: Limits
    ) -> Frames | BrokenClip:
        """Have one clip decoded; afterwards `alive` says whether the worker can take another."""
        try:
            self._line.send_bytes(worker.request(clip, policy, size, limits))
            if self._line.poll(limits.wall_s + _GRACE_S):
                return worker.receive(self._line, clip)
            self.kill()
            self.end()
            return BrokenClip(clip.path, f"its decoder hung for more than {limits.wall_s + _GRACE_S:g} s")
        except (EOFError, OSError):
            return BrokenClip(clip.path, f"its decoder died ({_fate(self.end())})")

    def kill(self) -> None:
        """Kill the process; whoever waits for its reply sees it end. Safe from any thread."""
        self._process.kill()

    def end(self) -> int:
        """Hang up, see the process end and return its exit code, negative for a signal."""
        self.alive = False
        self._line.close()
        try:
            return self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _unwanted(clip: Clip) -> BrokenClip:
    return BrokenClip(clip.path, "it was not wanted any more")


def _fate(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
