"""One decoding process, seen from the process that asked for it, and who may work beside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import ProcessError
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Condition

from vidapt.errors import BrokenClip, VidaptError
from vidapt.nouns import Clip, Frames
from vidapt.video import worker
from vidapt.video.choose import Policy
from vidapt.video.limits import Limits

_START_S = 120.0  # a machine under load may take long to import numpy
_GRACE_S = 15.0  # workers look at the clock between packets; one that does not get there is stuck
_MAIN = "import sys; from vidapt.video.worker import main; main(int(sys.argv[1]))"


class WorkerDiedError(Exception):
    """A worker ended before it had answered; the text says how."""


class Worker:
    """One decoding process and the line to it.

    It is started as a module of its own rather than by `multiprocessing`, which would run the caller's
    main script again in the child. It has a session of its own: Ctrl-C is for the process that asked, which
    then hangs up, and would else end the worker in the middle of its imports.

    Raises:
        VidaptError: If the system has no room for another process.
    """

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                    start_new_session=True,
                )
        except OSError as error:
            raise _not_started(error.strerror or str(error)) from error
        self._line = Connection(ours.detach())
        self.alive = True

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def await_ready(self) -> None:
        """Wait until it takes clips.

        Raises:
            VidaptError: If it does not get there.
        """
        try:
            ready = self._line.poll(_START_S) and self._line.recv_bytes() == worker.READY
        except (EOFError, OSError):
            ready = False
        if not ready:
            raise _not_started(_fate(self.end()))

    def decode(
        self, clip: Clip, policy: Policy, size: tuple[int, int] | None, limits: Limits
    ) -> Frames | BrokenClip:
        """Have one clip decoded; afterwards `alive` says whether the worker can take another.

        Raises:
            WorkerDiedError: If it ends, or says what no worker says, before it has answered.
        """
        try:
            self._line.send_bytes(worker.request(clip, policy, size, limits))
            if self._line.poll(limits.wall_s + _GRACE_S):
                return worker.receive(self._line, clip)
        except (EOFError, OSError) as error:
            raise WorkerDiedError(_fate(self.end())) from error
        except (ValueError, TypeError, LookupError, MemoryError, ProcessError) as error:
            self.kill()
            self.end()
            raise WorkerDiedError("its answer cannot be understood") from error
        self.kill()
        self.end()
        return BrokenClip(clip.path, f"its decoder hung for more than {limits.wall_s + _GRACE_S:g} s")

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


class Gate:
    """Lets many in at once, or one alone."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._taken = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Be inside with others; waits while one is there alone, or about to be."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be inside alone; waits for all others to leave, and lets none in meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken)
            self._taken = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()


def _not_started(why: str) -> VidaptError:
    return VidaptError(
        "decode worker",
        f"the process could not be started ({why})",
        "its own message is above; decoding with workers=0 needs no process",
    )


def _fate(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
