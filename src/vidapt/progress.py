"""How far the work is, and how long it will take: one line per task on the terminal."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vidapt.errors import readable

PLAIN_SECONDS = 10.0
_NUMBERS = re.compile(r"[0-9.]+")


class Reporter(Protocol):
    """What long work calls to show how far it is."""

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of `task`."""


def silent(task: str, done: int, total: int, note: str = "") -> None:
    """Show nothing."""


_BAR, _LEAST_BAR, _BESIDE = 28, 8, 62
"""Columns of a bar, and those of what stands beside it."""


class _Bars(Progress):
    """Bars; what is told beside a number stands below them, as it would leave a narrow terminal no bar."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, and the note of the task that was begun last."""
        yield self.make_tasks_table(self.tasks)
        if self.tasks and (note := self.tasks[-1].fields["note"]):
            yield Text(f"  {note}", overflow="ellipsis", no_wrap=True)


class ProgressReporter:
    """A `Reporter` that draws bars, or prints plain lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._printed: dict[str, float] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._ended: dict[str, str] = {}
        self._bars = _Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=max(_LEAST_BAR, min(_BAR, console.width - _BESIDE))),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of `task`."""
        task, note = readable(task), readable(note)
        if not self._console.is_terminal:
            self._print(task, done, total, note)
            return
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total, note=note)
        self._bars.update(self._tasks[task], completed=done, total=total, note=note)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Draw nothing meanwhile, so that a question can be asked."""
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()

    def _print(self, task: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if done <= self._began.get(task, (now, done))[1]:  # it begins, perhaps once more
            self._began[task] = (now, done)
        if done < total:
            self._ended.pop(task, None)
        elif self._ended.get(task) == (words := _NUMBERS.sub("#", note)):
            return  # the end is told once more, at most with a rate that is a little different
        else:
            self._ended[task] = words
        began, first = self._began[task]
        if done == total or now - self._printed.get(task, -math.inf) >= PLAIN_SECONDS:
            self._printed[task] = now
            left = _left(now - began, done - first, total - done)
            line = f"{task}: {done}/{total}{left} {note}".rstrip(" ;")
            # A note may be longer than a line of a log is wide; it is not to be broken there.
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _left(seconds: float, done: int, rest: int) -> str:
    """Time left as a log says it; nothing while nobody can know."""
    if done <= 0 or rest <= 0:
        return ""
    return f", {timedelta(seconds=round(seconds / done * rest))} left;"


@contextmanager
def progress() -> Iterator[ProgressReporter]:
    """A reporter on standard error, where it does not mix with results."""
    reporter = ProgressReporter(Console(file=sys.stderr))
    with reporter._bars:
        yield reporter
