"""Asks speakers: nothing twice, nothing beyond the budget, no faster than they like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from vidapt.chat.asked import Asked, Bound, Call, Failed, Refused, Said, Speaker, Stop, Tally, Unusable
from vidapt.chat.purse import Purse
from vidapt.chat.replies import Kept, Replies
from vidapt.digests import digest
from vidapt.errors import BudgetError, VidaptError

_FIRST_S, _LONGEST_S = 0.5, 60.0
"""Pauses before a question is repeated, doubled from the first to the longest, where a server says none."""


_PRESENT_S = 3.0
"""Seconds after which one is given up that was never there: its address is wrong, or it was not started. One
that answered and is gone is waited for, as it may be starting anew."""

_LOOK_UP_S = 0.5
"""Longest sleep before it is seen whether all is to end."""


class Asking(Protocol):
    """Who can be asked."""

    speakers: Sequence[Speaker]

    async def ask(self, number: int, asked: Asked, step: str, tally: Tally) -> Said:
        """Ask speaker `number`, and note the call."""


class Desk:
    """Where questions are handed in.

    Args:
        speakers: Who is asked.
        replies: Where answers are kept.
        purse: What may be spent.
        give_up: Questions in a row that come to nothing before all ends.
        interrupted: Says whether somebody wants it to end; what is under way is then still waited for, since
            it is paid for.
    """

    def __init__(
        self,
        speakers: Sequence[Speaker],
        replies: Replies,
        purse: Purse,
        give_up: int,
        interrupted: Callable[[], object] = lambda: None,
    ) -> None:
        self.speakers = speakers
        self._replies, self._purse, self._give_up = replies, purse, give_up
        self._lanes = [_Lane(speaker) for speaker in speakers]
        self._under_way: dict[str, asyncio.Task[Kept]] = {}
        self._vain, self._interrupted = 0, interrupted
        self.reason: VidaptError | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more is asked."""
        return self.reason is not None or self._interrupted() is not None

    async def ask(self, number: int, asked: Asked, step: str, tally: Tally) -> Said:
        """Ask a speaker, or answer as it did before.

        Raises:
            Stop: If the job is to end; `reason` says why.
            Failed: If there is no answer to this question.
        """
        speaker = self.speakers[number]
        key = self._key(number, asked)
        kept = self._replies.get(key)
        if kept is None:
            tally.fresh += 1
            if key not in self._under_way:
                task = asyncio.create_task(self._paid(key, self._lanes[number], asked))
                self._under_way[key] = task
                task.add_done_callback(lambda _: self._under_way.pop(key, None))
            kept = await asyncio.shield(self._under_way[key])
        said = kept.said
        tally.calls.append(
            Call(
                step,
                speaker.name,
                digest(asked.prompt, 16),
                key,
                kept.read,
                kept.written,
                kept.money if speaker.priced else None,
                round(said.seconds, 3),
                len(asked.pictures),
                said.read is not None and said.written is not None,
            )
        )
        return said

    def end(self, reason: VidaptError) -> None:
        """Ask nothing more."""
        self.reason = self.reason or reason

    async def close(self) -> None:
        """Let go of all speakers."""
        for speaker in self.speakers:
            await speaker.close()

    def _key(self, number: int, asked: Asked) -> str:
        """Of an answer: digest of all that it depends on."""
        speaker = self.speakers[number]
        how = [asked.schema, asked.temperature, asked.top_p, asked.max_tokens, asked.seed]
        return digest([speaker.identity, asked.prompt, speaker.sees(asked), how], 32)

    async def _paid(self, key: str, lane: _Lane, asked: Asked) -> Kept:
        async with lane.room:
            began = time.monotonic()
            for attempt in range(lane.speaker.limits.retries + 1):
                try:
                    return await self._attempt(key, lane, asked)
                except Unusable as error:
                    self._end(error)
                except Refused:
                    self._vain = 0
                    raise
                except Failed as error:
                    lane.heard |= not error.absent
                    if not lane.heard and time.monotonic() - began >= _PRESENT_S:
                        self._end(error)
                    if not error.again or attempt == lane.speaker.limits.retries:
                        self._in_vain(error)
                        raise
                    self._pause(lane, error, attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, key: str, lane: _Lane, asked: Asked) -> Kept:
        bound = lane.bound(asked)
        await lane.turn(bound.read + bound.written, self._check)
        try:
            async with self._purse.holding(bound):
                self._check()
                kept = await self._sent(key, lane, asked, bound)
        except Stop:
            if not self.ended:
                self.reason = BudgetError(
                    "budget",
                    "the next question could go beyond it",
                    "raise it and run the same command again",
                )
            raise
        self._vain = 0
        return kept

    async def _sent(self, key: str, lane: _Lane, asked: Asked, bound: Bound) -> Kept:
        self._replies.begin(key, lane.speaker.name, bound)
        try:
            said = await lane.speaker.ask(asked)
        except Failed as error:
            self._replies.drop(key, bound, paid=error.paid)
            raise
        read = bound.read if said.read is None else said.read
        written = bound.written if said.written is None else said.written
        lane.heard = True
        lane.learn(asked, read)
        kept = Kept(said, read, written, lane.speaker.money(read, written))
        self._replies.keep(key, kept)
        return kept

    def _check(self) -> None:
        if self.ended:
            raise Stop

    def _end(self, reason: VidaptError) -> None:
        """End all.

        Raises:
            Stop: Always.
        """
        self.end(reason)
        raise Stop

    def _in_vain(self, error: Failed) -> None:
        self._vain += 1
        if self._vain >= self._give_up:
            told = f"{self._vain} questions in a row came to nothing; the last one: {error.found}"
            self._end(
                VidaptError(error.where, told, error.remedy or "see to it, and run the same command again")
            )

    def _pause(self, lane: _Lane, error: Failed, attempt: int) -> None:
        wait = min(_LONGEST_S, _FIRST_S * 2**attempt) if error.after_s is None else error.after_s
        if wait > lane.speaker.limits.patience_s:
            told = f"{error.found}; it asks to wait {wait:.0f} s, longer than `patience_s`"
            self._end(VidaptError(error.where, told, "run the same command again then"))
        lane.pause(wait)


class _Lane:
    """One speaker's questions in their turn."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self.room = asyncio.Semaphore(speaker.limits.concurrency)
        self._line = asyncio.Lock()
        self._free_at = 0.0
        self._scale = 1.0
        self.heard = False

    def bound(self, asked: Asked) -> Bound:
        """The most a question can take, as far as the speaker's own counts have shown."""
        bound = self.speaker.bound(asked)
        if self._scale == 1.0:
            return bound
        read = round(bound.read * self._scale)
        return Bound(read, bound.written, self.speaker.money(read, bound.written))

    def learn(self, asked: Asked, read: int) -> None:
        """Take a speaker that counts more tokens than was thought at its word from now on."""
        self._scale = max(self._scale, read / max(1, self.speaker.bound(asked).read))

    async def turn(self, tokens: int, check: Callable[[], None]) -> None:
        """Wait until one more may begin.

        Args:
            tokens: That it can take.
            check: Called now and then; it may raise.
        """
        limits = self.speaker.limits
        async with self._line:
            check()
            while (wait := self._free_at - time.monotonic()) > 0:
                await asyncio.sleep(min(wait, _LOOK_UP_S))
                check()
            between = [60 / limits.requests_per_minute] if limits.requests_per_minute else []
            between += [60 * tokens / limits.tokens_per_minute] if limits.tokens_per_minute else []
            self._free_at = max(self._free_at, time.monotonic() + max(between, default=0.0))

    def pause(self, wait: float) -> None:
        """Begin none for so many seconds."""
        self._free_at = max(self._free_at, time.monotonic() + wait)
