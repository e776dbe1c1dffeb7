"""Start a program as a user does, and stop it without warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

VIDAPT = str(Path(sys.executable).parent / "vidapt")


@contextmanager
def one_thread() -> Iterator[None]:
    """As in the programs that `start` starts; sums over threads may round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def start(*command: str | Path) -> subprocess.Popen[bytes]:
    """Start a program that says nothing and computes in one thread."""
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def stop_when(
    reached: Callable[[], object],
    running: subprocess.Popen[bytes],
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
