"""What the next steps see is made ready in the background while the model computes this one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol


class Batch(Protocol):
    """A portion of a step."""

    @property
    def tokens(self) -> int:
        """How many are read, without padding."""
        ...

    def ready(self) -> None:
        """Have at hand all that depends on no weight that learns."""
        ...


_Made = tuple[list[Any], int]
"""The batches of a step, and their tokens."""


class Prefetch:
    """Gives the batches of steps in their order, some steps ahead of who asks.

    One thread does all of it, so that what clips come from is used by one at a time. What a step sees depends
    on its number alone, so nothing is learned otherwise than without.

    Args:
        batches: What a step sees, counted from 0, in portions.
        steps: How many there are.
        ahead: How many steps are made ready beside the one that is computed; 0 makes none.

    Attributes:
        waited: Seconds for which was waited, but for the first step.
        watched: Seconds since the first step was there.
        read: Tokens of the steps behind it.
    """

    def __init__(self, batches: Callable[[int], list[Any]], steps: int, ahead: int) -> None:
        self._batches, self._steps, self._ahead = batches, steps, ahead
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="vidapt-prefetch") if ahead else None
        self._waiting: deque[tuple[int, Future[_Made]]] = deque()
        self._next = 0
        self._since: float | None = None
        self.waited = 0.0
        self.read = 0

    @property
    def watched(self) -> float:
        """Seconds since the first step was there."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    @property
    def share(self) -> float | None:
        """Share of the time for which was waited; None before there is any."""
        return self.waited / self.watched if self.watched else None

    @property
    def tokens_s(self) -> float | None:
        """Tokens a second; None before a second step was there."""
        return self.read / self.watched if self.read else None

    def __call__(self, number: int) -> list[Any]:
        """Batches of a step; asked again about one, they are made anew, and so are those of later steps."""
        asked = time.monotonic()
        found, tokens = self._made(number) if self._worker is None else self._from_worker(number)
        now = time.monotonic()
        if self._since is None:
            self._since = now
        else:
            self.waited += now - asked
            self.read += tokens
        return found

    def close(self) -> None:
        """Stop, once what is under way is done."""
        if self._worker is not None:
            self._forget()
            self._worker.shutdown()

    def _from_worker(self, number: int) -> _Made:
        if not self._waiting or self._waiting[0][0] != number:
            self._forget()
            self._next = number
        self._fill(number)
        _, future = self._waiting.popleft()
        return future.result()

    def _fill(self, number: int) -> None:
        assert self._worker is not None
        while self._next <= min(number + self._ahead, self._steps - 1) or not self._waiting:
            self._waiting.append((self._next, self._worker.submit(self._made, self._next)))
            self._next += 1

    def _forget(self) -> None:
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    def _made(self, number: int) -> _Made:
        made = self._batches(number)
        for batch in made:
            batch.ready()
        return made, sum(batch.tokens for batch in made)
