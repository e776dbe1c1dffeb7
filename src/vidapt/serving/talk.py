"""Conversations: what was asked as turns of ours, and answers as OpenAI's clients expect them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any

from vidapt.json_fits import SchemaError, check_schema, read_json
from vidapt.nouns import MEDIA, Turn
from vidapt.serving.refused import RefusedError, wrong
from vidapt.serving.shapes import AnyJson, Asked, Media, Message, SchemaJson, TextPart
from vidapt.serving.table import Errand, Job, Said, Table
from vidapt.serving.terms import MOST_LETTERS, MOST_MEDIA
from vidapt.serving.visits import Visit

_TOKENS = 256
"""Of an answer of which nobody says how long it may be."""

_FORMAT = "response_format"
_UNFINISHED = "\ufffd"


@dataclass(frozen=True)
class Talk:
    """A conversation to be gone on with.

    Attributes:
        turns: It ends with a user's.
        media: The clips and pictures of its marks, in order.
    """

    turns: tuple[Turn, ...]
    media: tuple[Media, ...]


def read_talk(messages: Sequence[Message]) -> Talk:
    """Turns and media of a conversation.

    Raises:
        RefusedError: If it does not end with a user's turn, or has too much of anything.
    """
    media: list[Media] = []
    turns = [_turn(message, media) for message in messages]
    if turns[-1].role != "user" or not turns[-1].text.strip():
        raise wrong("a conversation ends with what a user asks", "messages")
    if len(media) > MOST_MEDIA:
        raise wrong(f"there are {MOST_MEDIA} clips and pictures in a request at most", "messages")
    if sum(len(turn.text) for turn in turns) > MOST_LETTERS:
        raise wrong(f"there are {MOST_LETTERS} letters in a request at most", "messages", "too_long")
    return Talk(tuple(turns), tuple(media))


def _turn(message: Message, media: list[Media]) -> Turn:
    role = "system" if message.role == "developer" else message.role
    parts = [message.content] if isinstance(message.content, str) else message.content
    words = ""
    for part in parts:
        text = part if isinstance(part, str) else part.text if isinstance(part, TextPart) else None
        if text is None:
            if role != "user":
                raise wrong("only users show clips and pictures", "messages")
            media.append(part)  # type: ignore[arg-type]
            words += MEDIA
        elif MEDIA in text:
            raise wrong(f"the mark {MEDIA} cannot be said; send the clip as a part", "messages")
        else:
            words += text
    return Turn(role, words)


def most_tokens(asked: Asked, most: int) -> int:
    """How long an answer may be.

    Raises:
        RefusedError: If more is asked for than there is.
    """
    name = "max_tokens" if asked.max_completion_tokens is None else "max_completion_tokens"
    wanted = asked.max_completion_tokens or asked.max_tokens or min(_TOKENS, most)
    if wanted > most:
        raise wrong(f"answers have {most} tokens at most", name)
    return wanted


async def answered(table: Table, job: Job) -> Said:
    """Wait for an answer.

    Raises:
        RefusedError: If there is none, or none in time.
    """
    said = await done(table, job)
    assert isinstance(said, Said)
    return said


async def done(table: Table, job: Job | Errand) -> Any:
    """Wait for what a model makes of a question or an errand; see `answered`."""
    table.ask(job)
    try:
        async with asyncio.timeout(job.until - time.monotonic()):
            return await asyncio.wrap_future(job.answer)
    except TimeoutError:
        raise RefusedError(504, "timeout", "there was no answer in time") from None
    finally:
        job.dropped = True


async def answered_json(table: Table, job: Job, wanted: AnyJson | SchemaJson) -> Said:
    """Wait for an answer in JSON; one that does not fit is asked for once more, with what is wrong with it.

    Raises:
        RefusedError: If the second does not fit, either.
    """
    schema = wanted.json_schema.schema_ if isinstance(wanted, SchemaJson) else {"type": "object"}
    try:
        check_schema(schema)
    except SchemaError as error:
        raise wrong(str(error), _FORMAT) from None
    last = job.turns[-1]
    ask = f"{last.text}\nAnswer with JSON alone, which fits this schema: {json.dumps(schema)}"
    turns = (*job.turns[:-1], replace(last, text=ask))
    said = await answered(table, _again(job, turns))
    text, reason = read_json(said.text, schema)
    if reason is not None:
        more = Turn("user", f"That does not fit: {reason}. Answer with JSON alone.")
        plain = said.text.replace(MEDIA, "")
        second = await answered(table, _again(job, (*turns, Turn("assistant", plain), more)))
        said = replace(second, read=said.read + second.read, written=said.written + second.written)
        text, reason = read_json(second.text, schema)
    if reason is not None:
        told = f"the model was asked twice; {reason}: ask a model that writes JSON"
        raise RefusedError(422, "model_wrote_no_such_json", told, _FORMAT)
    return replace(said, text=text)


def _again(job: Job, turns: tuple[Turn, ...]) -> Job:
    return Job(turns, job.clips, job.decoding, job.until)


class Stream:
    """An answer piece by piece, as its tokens are written.

    Args:
        table: The model.
        job: Not yet in line.
    """

    def __init__(self, table: Table, job: Job) -> None:
        self._table, self._job = table, job
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[int | None] = asyncio.Queue()
        job.told = self._hear
        job.answer.add_done_callback(lambda _: self._hear(None))

    def _hear(self, token: int | None) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody listens
            self._loop.call_soon_threadsafe(self._heard.put_nowait, token)

    async def pieces(self) -> AsyncGenerator[str | Said, None]:
        """Words as they come; nothing first, when the answer has begun, and the whole last.

        Raises:
            RefusedError: If there is none, or none in time.
        """
        self._table.ask(self._job)
        ids: list[int] = []
        sent = ""
        try:
            while (token := await self._next()) is not None:
                ids.append(token)
                if len(ids) == 1:
                    yield ""
                # The last word may still change with the next token.
                whole = self._text(ids)
                steady = whole.rstrip(_UNFINISHED).rstrip() if whole.startswith(sent) else sent
                if len(steady) > len(sent):
                    yield steady[len(sent) :]
                    sent = steady
            said = self._job.answer.result()
            if not ids:
                yield ""
            if said.text.startswith(sent):
                yield said.text[len(sent) :]
            yield said
        finally:
            self._job.dropped = True

    async def _next(self) -> int | None:
        try:
            async with asyncio.timeout(self._job.until - time.monotonic()):
                return await self._heard.get()
        except TimeoutError:
            raise RefusedError(504, "timeout", "there was no answer in time") from None

    def _text(self, ids: Sequence[int]) -> str:
        text = self._table.engine.tokenizer.decode(list(ids), skip_special_tokens=True)
        assert isinstance(text, str)
        return text.strip()


def completion(name: str, said: Said, ident: str, made: int) -> dict[str, Any]:
    """A whole answer, as clients expect it."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": said.text, "refusal": None},
        "finish_reason": _finish(said),
        "logprobs": None,
    }
    head = {"id": f"chatcmpl-{ident}", "object": "chat.completion", "created": made, "model": name}
    seen = {"times_s": [list(one) for one in said.times_s]}
    return head | {"choices": [choice], "usage": usage(said), "vidapt": seen}


def usage(said: Said) -> dict[str, int]:
    """How many tokens an answer took."""
    return {
        "prompt_tokens": said.read,
        "completion_tokens": said.written,
        "total_tokens": said.read + said.written,
    }


async def events(
    name: str, pieces: AsyncGenerator[str | Said, None], visit: Visit, *, count: bool
) -> AsyncIterator[str]:
    """An answer as server-sent events.

    Args:
        name: Of the model.
        pieces: The words, and the whole last.
        visit: Of whoever asks; is told how many tokens it took.
        count: Whether tokens are counted at the end.
    """
    head = {"id": f"chatcmpl-{visit.id}", "object": "chat.completion.chunk", "created": int(time.time())}
    head |= {"model": name}

    def event(delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _event(head | {"choices": [choice]})

    yield event({"role": "assistant", "content": ""})
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Said):
                    visit.told |= {"read": piece.read, "written": piece.written}
                    yield event({}, _finish(piece))
                    if count:
                        yield _event(head | {"choices": [], "usage": usage(piece)})
                elif piece:
                    yield event({"content": piece})
    except RefusedError as refused:  # the status is sent already
        yield _event(refused.body)
        return
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _finish(said: Said) -> str:
    return "stop" if said.ended else "length"
