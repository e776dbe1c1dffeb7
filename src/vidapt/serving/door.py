"""Stands before the application: who may come in, with how much, for how long; all is counted and noted.

A request is refused by what its head says before its body is read, and what it holds is charged before it is
taken: the length it announces, or the most it may have where it announces none.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidapt.serving.gauges import Gauges
from vidapt.serving.keys import Keys
from vidapt.serving.purse import Purse, Rates
from vidapt.serving.refused import RefusedError, fault_of
from vidapt.serving.terms import MOST_MARKS, Terms

OPEN = frozenset({"/health", "/ready"})
"""Paths for which nobody needs a key: they say nothing but whether the server works."""

_PATHS = OPEN | {
    "/metrics",
    "/openapi.json",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/files",
}
_MARKS = (b",", b"[", b"{")
_LINGER_S = 2.0
_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class GoneError(Exception):
    """Whoever asked is not there any more."""


@dataclass
class Visit:
    """One request, as it is noted.

    Attributes:
        path: One that the server has, or `other`.
        id: Is also told to whoever asks.
        who: Whose key it came with.
        status: What was answered; 499 if nobody was there any more.
        size: Bytes of its body.
        told: Further numbers: the model, tokens.
    """

    path: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    who: str = ""
    status: int = 0
    size: int = 0
    told: dict[str, Any] = field(default_factory=dict)


def to_stderr(line: str) -> None:
    """Write a line of the log."""
    print(line, file=sys.stderr, flush=True)


class Door:
    """Stands before an application.

    Args:
        app: Is asked what was let in; finds its `Visit` in the scope under `visit`.
        terms: What is granted.
        keys: Who may ask.
        gauges: Where requests are counted.
        log: Takes a line of JSON for every request, in which nothing stands that was said.

    Attributes:
        draining: Nobody is let in any more.
        inside: Requests that are read or answered now.
    """

    def __init__(
        self, app: ASGIApp, terms: Terms, keys: Keys, gauges: Gauges, log: Callable[[str], None] = to_stderr
    ) -> None:
        self._app, self._terms, self._keys, self._gauges, self._log = app, terms, keys, gauges, log
        self._rates, self._bodies = Rates(terms.per_minute), Purse(terms.bodies_bytes)
        self.draining, self.inside = False, 0
        gauges.watch("vidapt_inside", "Requests that are read or answered now.", lambda: self.inside)
        gauges.watch("vidapt_body_bytes", "Bytes held for requests' bodies.", lambda: self._bodies.held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            return
        path, began = scope["path"], time.perf_counter()
        visit = Visit(path if path in _PATHS else "/v1/files" if path.startswith("/v1/files/") else "other")

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                MutableHeaders(scope=message).update({**_HEADERS, "x-request-id": visit.id})
            await send(message)

        try:
            async with asyncio.timeout(self._terms.timeout_s + self._terms.body_s + _LINGER_S):
                await self._let_in({**scope, "visit": visit, "ending": self.draining}, receive, noted, visit)
        except (GoneError, OSError):
            visit.status = visit.status or 499
        except TimeoutError:
            if not visit.status:
                await _refuse(RefusedError(504, "timeout", "this took too long"), scope, receive, noted)
        except Exception as error:  # noqa: BLE001 - told in the log; others are served on
            visit.told["fault"] = fault_of(error)
            if not visit.status:
                await _refuse(RefusedError(500, "fault", "the server is at fault"), scope, receive, noted)
        finally:
            self._note(visit, scope["method"], time.perf_counter() - began)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send, visit: Visit) -> None:
        try:
            count = self._charge(scope, visit)
        except RefusedError as refused:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    await self._pass_over(scope, receive)
            await _refuse(refused, scope, receive, send)
            return
        if count is None:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(receive, Headers(scope=scope))
            visit.size = len(body)
        except RefusedError as refused:
            await _refuse(refused, scope, receive, send)
        else:
            await self._app(scope, _replayed(body, receive), send)
        finally:
            self.inside -= 1
            self._bodies.give(count)

    def _charge(self, scope: Scope, visit: Visit) -> int | None:
        """Bytes taken for a request's body; None for one that has none and costs nothing.

        Raises:
            RefusedError: If it is not let in.
        """
        headers, terms = Headers(scope=scope), self._terms
        if scope["path"] in OPEN:
            return None
        visit.who = self._keys.who(headers.get("authorization", "")) or ""
        if not visit.who:
            raise RefusedError(401, "invalid_api_key", "send a key that this server knows, as Bearer")
        if not self._keys and (headers.get("origin") or headers.get("sec-fetch-site", "none") != "none"):
            raise RefusedError(403, "no_browsers", "pages may not ask a server that wants no keys")
        if self.draining:
            raise RefusedError(503, "ending", "the server is ending: ask another one", retry_s=5)
        if wait := self._rates.wait_s(visit.who):
            raise RefusedError(429, "rate_limit_exceeded", "too many requests with this key", retry_s=wait)
        if scope["method"] != "POST":
            return None
        length = headers.get("content-length")
        count = int(length) if length is not None and length.isdecimal() else terms.body_bytes
        if count > terms.body_bytes:
            raise _too_large(terms)
        if self.inside >= terms.queue or not self._bodies.take(count):
            raise RefusedError(429, "server_busy", "the server has its hands full", retry_s=1)
        self.inside += 1
        return count

    async def _read(self, receive: Receive, headers: Headers) -> bytes:
        """A request's body.

        Raises:
            RefusedError: If it is too long, too slow, or made of more parts than anybody needs.
            GoneError: If it ends before its end.
        """
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._terms.body_s):
                while more:
                    chunk, more = await _chunk(receive)
                    if len(body) + len(chunk) > self._terms.body_bytes:
                        raise _too_large(self._terms)
                    body += chunk
        except TimeoutError:
            raise RefusedError(408, "slow_body", "the request was not sent in time") from None
        multipart = headers.get("content-type", "").startswith("multipart/")
        if not multipart and sum(body.count(mark) for mark in _MARKS) > MOST_MARKS:
            raise RefusedError(413, "too_many_parts", f"JSON with more than {MOST_MARKS} parts is not read")
        return bytes(body)

    async def _pass_over(self, scope: Scope, receive: Receive) -> None:
        """Take what is being sent without keeping it: who is cut off in the middle does not hear why."""
        left, more = 2 * self._terms.body_bytes, scope["method"] not in ("GET", "HEAD")
        while more and left > 0:
            chunk, more = await _chunk(receive)
            left -= len(chunk)

    def _note(self, visit: Visit, method: str, seconds: float) -> None:
        self._gauges.add("vidapt_requests_total", path=visit.path, status=str(visit.status))
        self._gauges.took(visit.path, seconds)
        if visit.path in OPEN:
            return
        line = {"time": round(time.time(), 3), "id": visit.id, "key": visit.who, "method": method}
        line |= {
            "path": visit.path,
            "status": visit.status,
            "seconds": round(seconds, 4),
            "bytes": visit.size,
        }
        self._log(json.dumps(line | visit.told))


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    message: MutableMapping[str, Any] = await receive()
    if message["type"] != "http.request":
        raise GoneError
    return message.get("body", b""), message.get("more_body", False)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, and behind it what comes: that nobody is there any more."""
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return parts.pop() if parts else await receive()

    return next_message


def _too_large(terms: Terms) -> RefusedError:
    return RefusedError(413, "too_large", f"requests have {terms.body_bytes} bytes at most")


async def _refuse(refused: RefusedError, scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(refused.body, refused.status, refused.headers)(scope, receive, send)
