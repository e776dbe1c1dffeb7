"""Gradio's queue, kept within bounds: what a tab asked and never hears is not held for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from vidapt.serving.refused import RefusedError

_OF_TAB = 8
"""Events of one tab of which it has not heard the end."""

_UNHEARD_S = 30.0
"""How long what came of them is held for a tab that does not listen."""


class Lines:
    """Events that were told and not heard of to their end; used by one event loop.

    Args:
        blocks: Gradio's page.
        most: How many, of all tabs together.
        clock: Seconds that only grow.

    Attributes:
        words: How many words each event holds, by its number.
    """

    def __init__(self, blocks: Any, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self._most, self._clock = blocks._queue, most, clock
        self._told: dict[str, float] = {}
        self._listening: dict[str, int] = {}
        self.words: Mapping[int, int] = {number: len(event.inputs) for number, event in blocks.fns.items()}

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return len(self._queue) > 0 or self._queue.get_active_worker_count() > 0

    def join(self, tab: str) -> None:
        """Take note that a tab tells an event.

        Raises:
            RefusedError: If it, or all together, have too many.
        """
        now, pending = self._clock(), self._queue.pending_event_ids_session
        for old in [one for one, since in self._told.items() if now - since > _UNHEARD_S]:
            self._let_go(old)
        if len(pending.get(tab, ())) >= _OF_TAB or sum(map(len, pending.values())) >= self._most:
            raise RefusedError(429, "server_busy", "the server has its hands full", retry_s=1)
        self._told[tab] = now

    def listen(self, tab: str) -> None:
        """Take note that a tab listens."""
        self._listening[tab] = self._listening.get(tab, 0) + 1

    def leave(self, tab: str) -> None:
        """Forget what a tab waited for that listens no more: its next stream would wait for that, too."""
        self._listening[tab] -= 1
        if not self._listening[tab]:
            del self._listening[tab]
        events, pending = self._queue.event_ids_to_events, self._queue.pending_event_ids_session
        waiting = pending.get(tab, set())
        waiting -= {one for one in waiting if one not in events or not events[one].alive}
        if not waiting:
            pending.pop(tab, None)

    def _let_go(self, tab: str) -> None:
        """Let go of what came of a tab's events, unless some are under way or it listens."""
        waiting = self._queue.pending_event_ids_session.get(tab, set())
        if tab in self._listening or any(one in self._queue.event_ids_to_events for one in waiting):
            return
        del self._told[tab]
        self._queue.pending_event_ids_session.pop(tab, None)
        self._queue.pending_messages_per_session.pop(tab, None)
