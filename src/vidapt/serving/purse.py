"""What is shared by all requests and must not be overdrawn: memory, and each key's share of a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Purse:
    """Bytes that may be held at a time; used by one event loop.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._freed = asyncio.Condition()

    def take(self, count: int) -> bool:
        """Take bytes if there are so many."""
        if self.held + count > self.most:
            return False
        self.held += count
        return True

    @asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """Wait until there are so many bytes, and hold them for a while; no more than there are at all."""
        count = min(count, self.most)
        async with self._freed:
            await self._freed.wait_for(lambda: self.take(count))
        try:
            yield
        finally:
            self.held -= count
            await asyncio.shield(self._wake())

    async def _wake(self) -> None:
        async with self._freed:
            self._freed.notify_all()

    def give(self, count: int) -> None:
        """Give back what `take` took."""
        self.held -= count


class Rates:
    """How often each of those who may ask does so: evenly; what a tenth of a minute grants may be saved up.

    Args:
        per_minute: Requests; 0 for as many as anybody likes.
        clock: Seconds that only grow.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = per_minute / 60, clock
        self._most = max(1.0, per_minute / 10)
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, who: str) -> float:
        """Count a request; 0 if it is granted, else the seconds after which one will be."""
        if self._rate <= 0:
            return 0.0
        now = self._clock()
        left, then = self._left.get(who, (self._most, now))
        left = min(self._most, left + (now - then) * self._rate)
        granted = left >= 1
        self._left[who] = (left - 1 if granted else left, now)
        return 0.0 if granted else (1 - left) / self._rate
