"""What is done on the page: clips shown, questions asked, answers flagged, in the line that all stand in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

from fastapi.concurrency import run_in_threadpool

from vidapt.measure.look import look_at_frames
from vidapt.models.decoding import Decoding
from vidapt.nouns import MEDIA
from vidapt.serving.app import House
from vidapt.serving.page import shown
from vidapt.serving.page.flags import Flag, Flags
from vidapt.serving.page.tabs import Exchange, Side, Tab, Waiting
from vidapt.serving.refused import RefusedError, fault_of, wrong
from vidapt.serving.replies import Question, reply, sight_of
from vidapt.serving.shapes import FileName, FilePart, Message, TextPart
from vidapt.serving.table import Errand, Said
from vidapt.serving.talk import done, read_talk

_TOKENS = 256
_BEAT_S = 0.1
"""How often words that were written meanwhile are shown."""

_BEATS = 10
"""After how many of these something is shown in any case: only then is it seen that nobody looks any more."""

MOST_LETTERS = 4000
"""Of one question."""

_MOST_TALK = 40
"""Questions of one conversation."""

_MOST_WAITING = 3
"""Questions that wait in one tab."""


class Asking:
    """What is done in tabs; used by one event loop.

    Args:
        house: The models and the decoder.
        flags: Where wrong answers are kept; None where they are not.
        log: Takes a line of JSON for everything that a model does, in which nothing stands that was said.
    """

    def __init__(self, house: House, flags: Flags | None, log: Callable[[str], None]) -> None:
        self._house, self._flags, self._log = house, flags, log
        self.models = tuple(house.tables)

    @property
    def keeps(self) -> bool:
        """Whether wrong answers are kept."""
        return self._flags is not None

    async def seen(self, tab: Tab) -> str:
        """The frames that the models of a tab see, as HTML."""
        return await self._each(tab, "see", "sees nothing", self._frames)

    async def looked(self, tab: Tab) -> str:
        """Where the models of a tab look, as HTML."""
        return await self._each(tab, "look", "shows no place it looks at", self._map)

    async def ask(self, tab: Tab, question: str, *, alone: bool = False) -> AsyncIterator[None]:
        """Ask the models of a tab; whenever there are more words, it is time to show them.

        While another answer is written there, the question waits for its turn.

        Args:
            tab: Where it is asked.
            question: What is asked.
            alone: Whether it is no part of the conversation.

        Raises:
            RefusedError: If it cannot be asked.
        """
        question = question.strip()
        if not tab.file:
            raise wrong("drop a clip first")
        if not question or len(question) > MOST_LETTERS:
            raise wrong(f"a question has 1 to {MOST_LETTERS} letters")
        _refuse_more(tab)
        async for _ in self._turn(tab, question):
            yield
        tab.busy = True
        sides = tab.sides
        pairs = [(side, Exchange(question, alone)) for side in sides]
        tasks = [asyncio.create_task(self._answer(tab, *pair)) for pair in pairs]
        for side, exchange in pairs:
            side.talk.append(exchange)
        try:
            yield
            before, still = [""] * len(pairs), 0
            # Other models, or another clip, and nobody waits for these answers any more.
            while tab.sides is sides and any(not task.done() for task in tasks):
                await asyncio.wait(tasks, timeout=_BEAT_S)
                now, still = [exchange.answer for _, exchange in pairs], still + 1
                if now != before or still >= _BEATS:
                    before, still = now, 0
                    yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            tab.busy = False

    @staticmethod
    async def _turn(tab: Tab, question: str) -> AsyncIterator[None]:
        """Wait until nothing else is written in a tab; now and then it is time to show that it waits.

        Raises:
            RefusedError: If too many wait, or what it was asked about is not there any more.
        """
        if not tab.busy and not tab.line:
            return
        if len(tab.line) >= _MOST_WAITING:
            raise wrong(f"{_MOST_WAITING} questions wait already")
        sides, mine = tab.sides, Waiting(question)
        tab.line.append(mine)
        try:
            beats = 0
            while tab.sides is sides and (tab.busy or tab.line[0] is not mine):
                if beats % _BEATS == 0:
                    yield
                beats += 1
                await asyncio.sleep(_BEAT_S)
        finally:
            tab.line.remove(mine)
        if tab.sides is not sides:
            raise wrong("the conversation was begun anew: ask again")
        _refuse_more(tab)

    async def flag(self, tab: Tab, name: str, question: str, right: str) -> None:
        """Keep a wrong answer and what would have been right.

        Raises:
            RefusedError: If it cannot be kept.
        """
        found = tab.find(name)
        if self._flags is None or found is None or found[1].said is None:
            raise wrong("there is no such answer, or none are kept")
        side, exchange = found
        clip = self._house.uploads.find(tab.who, tab.file).path
        before = [] if exchange.alone else side.answered[: side.answered.index(exchange)]
        flag = Flag(
            side.model,
            tab.who,
            clip,
            tab.suffix,
            question,
            exchange.answer,
            right,
            tuple((one.question, one.answer) for one in before),
        )
        await run_in_threadpool(self._flags.keep, flag)
        exchange.flagged = True

    async def _answer(self, tab: Tab, side: Side, exchange: Exchange) -> None:
        with self._noted("answer", tab, side) as told:
            try:
                asked = Question(
                    read_talk(_messages(tab, side, exchange)),
                    tab.who,
                    Decoding(min(_TOKENS, self._house.terms.most_tokens)),
                    time.monotonic() + self._house.terms.timeout_s,
                )
                table = self._house.tables[side.model]
                async with aclosing(reply(self._house.viewer, table, asked, stream=True)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Said):
                            exchange.answer, exchange.said = piece.text, piece
                            told |= {"read": piece.read, "written": piece.written}
                        else:
                            exchange.answer += piece
            except RefusedError as refused:
                exchange.fault = refused.message
                raise
            except Exception:
                exchange.fault = "the server is at fault"
                raise

    async def _each(self, tab: Tab, named: str, lacking: str, work: Callable[..., Any]) -> str:
        """Something done for each model of a tab; what goes wrong with one is told in its place."""
        if not tab.file:
            return ""
        found = []
        for side in tab.sides:
            said = shown.told_instead(f"{side.model} {lacking}", "the server is at fault")
            with self._noted(named, tab, side):
                try:
                    said = await work(tab, side)
                except RefusedError as refused:
                    said = shown.told_instead(f"{side.model} {lacking}", refused.message)
                    raise
            found.append(said)
        return "".join(found)

    async def _frames(self, tab: Tab, side: Side) -> str:
        async with self._looking(tab, side) as ((_, frames),):
            return await run_in_threadpool(shown.frames_seen, side.model, frames)

    async def _map(self, tab: Tab, side: Side) -> str:
        table = self._house.tables[side.model]

        def work(engine: Any) -> Any:
            return look_at_frames(
                clip.path, frames.pixels, frames, engine.model, engine.tokenizer, side.model
            )

        async with self._looking(tab, side) as ((clip, frames),):
            looked = await done(table, Errand(work, time.monotonic() + self._house.terms.timeout_s))
            return await run_in_threadpool(shown.looked_at, looked)

    def _looking(self, tab: Tab, side: Side) -> Any:
        return self._house.viewer.looking([_medium(tab)], tab.who, sight_of(self._house.tables[side.model]))

    @contextmanager
    def _noted(self, named: str, tab: Tab, side: Side) -> Iterator[dict[str, Any]]:
        """Count and note what a model does for the page; what was refused is noted and goes no further."""
        began, told, status = time.perf_counter(), dict[str, Any](), 200
        try:
            yield told
        except RefusedError as refused:
            status = refused.status
            told |= {"fault": refused.fault} if refused.fault else {}
        except asyncio.CancelledError:
            status = 499
            raise
        except Exception as error:  # noqa: BLE001 - told in the log; others are served on
            status, told["fault"] = 500, fault_of(error)
        finally:
            path, seconds = f"/page/{named}", time.perf_counter() - began
            self._house.gauges.add("vidapt_requests_total", path=path, status=str(status))
            self._house.gauges.took(path, seconds)
            line = {"time": round(time.time(), 3), "key": tab.who, "path": path, "status": status}
            self._log(json.dumps(line | {"seconds": round(seconds, 4), "model": side.model} | told))


def _refuse_more(tab: Tab) -> None:
    if any(len(side.talk) >= _MOST_TALK for side in tab.sides):
        raise wrong(f"a conversation has {_MOST_TALK} questions at most: start anew")


def _medium(tab: Tab) -> FilePart:
    return FilePart(type="file", file=FileName(file_id=tab.file))


def _messages(tab: Tab, side: Side, last: Exchange) -> Sequence[Message]:
    """A conversation as clients send it: the clip stands before the first question."""
    found: list[Message] = []
    for exchange in (*([] if last.alone else side.answered), last):
        asked = TextPart(type="text", text=exchange.question)
        content = [asked] if found else [_medium(tab), asked]
        found.append(Message(role="user", content=content))
        if exchange is not last:
            # A model may write the mark of a clip, which only a clip may stand for.
            found.append(Message(role="assistant", content=exchange.answer.replace(MEDIA, "")))
    return found
