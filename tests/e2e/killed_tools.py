"""Start a program as a user does, and stop it without warning."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch

VIDAPT = str(Path(sys.executable).parent / "vidapt")


@contextmanager
def one_thread() -> Iterator[None]:
    """As in the programs that `start` starts; sums over threads may round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


_IMPORTED = ["pytest", "vidapt.cli", "vidapt.training.run", "transformers.models.llama.modeling_llama"]


class Running(Protocol):
    """A program that can be stopped."""

    def poll(self) -> int | None: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


def start(*command: str | Path) -> subprocess.Popen[bytes]:
    """Start a program that says nothing and computes in one thread."""
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


class Command:
    """`vidapt` in a process of its own, forked from one that has imported torch and done nothing else.

    It says nothing and computes in one thread. Importing, most of what a short command costs, is done once.

    Args:
        words: What stands behind `vidapt`.
    """

    def __init__(self, *words: str | Path) -> None:
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(
            ["killed_tools", "vidapt.cli", "vidapt.loading", "vidapt.training.run"]
        )
        self._process = context.Process(target=_run, args=([str(word) for word in words], Path.cwd()))
        self._process.start()

    def poll(self) -> int | None:
        """Its exit status; None while it runs, and below zero if a signal ended it."""
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self._process.pid is not None and self.poll() is None:
            os.kill(self._process.pid, sig)

    def kill(self) -> None:
        """End it without warning."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended."""
        self._process.join(timeout)
        status = self.poll()
        assert status is not None, f"it goes on after {timeout} s"
        return status


def _run(words: list[str], folder: Path) -> None:
    from vidapt.cli import main

    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    torch.set_num_threads(1)
    sys.argv = ["vidapt", *words]
    main()


def stop_when(
    reached: Callable[[], object],
    running: Running,
    how: signal.Signals = signal.SIGKILL,
    after: float = 0.0,
) -> int:
    """Send a signal once something is reached, and some seconds later; returns the exit status."""
    try:
        while not reached():
            assert running.poll() is None, "it ended before it was stopped"
            time.sleep(0.005)
        time.sleep(after)
        running.send_signal(how)
        return running.wait(60)
    finally:
        running.kill()
        running.wait()


def silent(task: str, done: int, total: int, note: str = "") -> None:
    """Report nothing."""
