"""Start a program as a user does, and stop it without warning."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch

VIDAPT = str(Path(sys.executable).parent / "vidapt")


@contextmanager
def one_thread() -> Iterator[None]:
    """As in the programs that are started here; sums over threads may round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Running(Protocol):
    """A program that can be stopped."""

    def poll(self) -> int | None: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


_PRELOADED = (
    "pytest",
    "vidapt.cli",
    "vidapt.captioning.engines.builtin",
    "vidapt.loading",
    "vidapt.training.run",
    "transformers.models.llama.modeling_llama",
    "transformers.models.clip.modeling_clip",
    "peft.tuners.lora",
    "bitsandbytes",
)
"""What is slow to import. Whoever is forked has it already."""


class Forked:
    """A function in a process of its own, forked from one that has imported what is slow.

    That one did nothing else. Importing, most of what a short program costs, is done once. The function
    computes in one thread.

    Args:
        work: What it does; it must be importable by name.
        given: What that is given.
        told: Files that its output and its errors are written to; else nobody hears them.
        env: Variables of its environment that are its own.
    """

    def __init__(
        self,
        work: Callable[..., object],
        *given: object,
        told: tuple[Path | None, Path | None] = (None, None),
        env: Mapping[str, str] | None = None,
    ) -> None:
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(list(_PRELOADED))
        place = (Path.cwd(), [str(path or os.devnull) for path in told], dict(env or {}))
        self._process = context.Process(target=_run, args=(place, work, given))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status; None while it runs, and below zero if a signal ended it."""
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it without warning."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended."""
        self._process.join(timeout)
        status = self.poll()
        assert status is not None, f"it goes on after {timeout} s"
        return status


class Command(Forked):
    """`vidapt`, see `Forked`.

    Args:
        words: What stands behind `vidapt`.
        told: Files that its output and its errors are written to.
    """

    def __init__(self, *words: str | Path, told: tuple[Path | None, Path | None] = (None, None)) -> None:
        super().__init__(_command, [str(word) for word in words], told=told)


def _run(
    place: tuple[Path, list[str], dict[str, str]], work: Callable[..., object], given: tuple[object, ...]
) -> None:
    folder, told, env = place
    os.chdir(folder)
    os.environ.update(env)
    for stream, path in zip((1, 2), told, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    torch.set_num_threads(1)
    work(*given)


def _command(words: list[str]) -> None:
    from vidapt.cli import main

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
