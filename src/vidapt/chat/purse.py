"""What a job may spend: every question is reserved by its upper bound before it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vidapt.chat.asked import Bound, Stop
from vidapt.chat.replies import Spent

_GRAIN = 1e-9
"""Sums of money are floating point."""


class Purse:
    """A budget.

    Args:
        spent: Counts what was spent, this job's earlier runs included; others add to it.
        money: Most money; None bounds nothing.
        tokens: Most tokens; None likewise.
    """

    def __init__(self, spent: Spent, money: float | None, tokens: int | None) -> None:
        self._spent, self._money, self._tokens = spent, money, tokens
        self._held_money, self._held_tokens, self._held = 0.0, 0, 0
        self._settled = asyncio.Condition()
        self.empty = False

    @asynccontextmanager
    async def holding(self, bound: Bound) -> AsyncIterator[None]:
        """Hold back what a question can cost while it is under way.

        Where that does not fit, it waits for others to be settled, since they may have cost less.

        Raises:
            Stop: If it does not fit and nothing else is under way.
        """
        async with self._settled:
            while not self._fits(bound):
                if self.empty or not self._held:
                    self.empty = True
                    self._settled.notify_all()
                    raise Stop
                await self._settled.wait()
            self._held_money += bound.money
            self._held_tokens += bound.read + bound.written
            self._held += 1
        try:
            yield
        finally:
            async with self._settled:
                self._held -= 1
                self._held_money = self._held_money - bound.money if self._held else 0.0
                self._held_tokens -= bound.read + bound.written
                self._settled.notify_all()

    def _fits(self, bound: Bound) -> bool:
        money = self._spent.money + self._held_money + bound.money
        tokens = self._spent.tokens + self._held_tokens + bound.read + bound.written
        return (self._money is None or money <= self._money + _GRAIN) and (
            self._tokens is None or tokens <= self._tokens
        )

    def left(self, currency: str) -> str:
        """What is left, in words; empty where nothing is bounded."""
        parts = []
        if self._money is not None:
            parts.append(f"{max(0.0, self._money - self._spent.money):.4g} {currency}")
        if self._tokens is not None:
            parts.append(f"{max(0, self._tokens - self._spent.tokens):,} tokens")
        return " and ".join(parts)
