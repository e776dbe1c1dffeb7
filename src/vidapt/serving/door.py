"""Stands before the application: who may come in, with how much, for how long; all is counted and noted.

A request is refused by what its head says before its body is read, and what it holds is charged before it is
taken: the length it announces, or the most it may have where it announces none.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidapt.serving.gauges import Gauges
from vidapt.serving.keys import Keys
from vidapt.serving.purse import Purse, Rates
from vidapt.serving.refused import RefusedError, fault_of
from vidapt.serving.terms import MOST_MARKS, Terms
from vidapt.serving.visits import Gate, Pass, Visit

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
_STREAMS = 4
"""How many times longer than a request the stream lasts in which a page hears answer after answer."""

_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class GoneError(Exception):
    """Whoever asked is not there any more."""


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
        page: Who may come to the page; None where there is none.

    Attributes:
        draining: Nobody is let in any more.
        inside: Requests that are read or answered now.
    """

    def __init__(
        self,
        app: ASGIApp,
        terms: Terms,
        keys: Keys,
        gauges: Gauges,
        log: Callable[[str], None] = to_stderr,
        page: Gate | None = None,
    ) -> None:
        self._app, self._terms, self._keys, self._gauges, self._log = app, terms, keys, gauges, log
        self._page = page
        self._longest_s = terms.timeout_s + terms.body_s + _LINGER_S
        self._rates, self._bodies = Rates(terms.per_minute), Purse(terms.bodies_bytes)
        self.draining, self.inside = False, 0
        gauges.watch("vidapt_inside", "Requests that are read or answered now.", lambda: self.inside)
        gauges.watch("vidapt_body_bytes", "Bytes held for requests' bodies.", lambda: self._bodies.held)

    @property
    def busy(self) -> bool:
        """Whether somebody would be cut off now."""
        return self.inside > 0 or (self._page is not None and self._page.busy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            return
        path, began = scope["path"], time.perf_counter()
        visit = Visit(path if path in _PATHS else "/v1/files" if path.startswith("/v1/files/") else "other")

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                own = visit.granted.headers if visit.granted is not None else {}
                MutableHeaders(scope=message).update({**_HEADERS, "x-request-id": visit.id, **own})
            await send(message)

        try:
            async with asyncio.timeout(self._longest_s) as limit:
                inner = {**scope, "visit": visit, "ending": self.draining}
                await self._let_in(inner, receive, noted, visit, limit)
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

    async def _let_in(
        self, scope: Scope, receive: Receive, send: Send, visit: Visit, limit: asyncio.Timeout
    ) -> None:
        try:
            count = self._charge(scope, visit)
        except RefusedError as refused:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    await self._pass_over(scope, receive)
            await _refuse(refused, scope, receive, send)
            return
        granted = visit.granted
        if granted is not None and granted.leads_to:
            scope = {**scope, "path": granted.leads_to, "raw_path": granted.leads_to.encode()}
        if count is None:
            await self._app(scope, receive, send)
            return
        try:
            if granted is not None and granted.streams:
                limit.reschedule(asyncio.get_running_loop().time() + _STREAMS * self._longest_s)
            else:
                body = await self._read(receive, Headers(scope=scope), granted)
                visit.size = len(body)
                receive = _replayed(body, receive)
        except RefusedError as refused:
            await _refuse(refused, scope, receive, send)
        else:
            await self._app(scope, receive, send)
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
        granted = visit.granted = self._page.admits(scope) if self._page is not None else None
        if granted is None:
            self._judge(headers, visit)
        else:
            visit.who, visit.path = granted.who, granted.named
        streams = granted is not None and granted.streams
        if self.draining and not streams:
            raise RefusedError(503, "ending", "the server is ending: ask another one", retry_s=5)
        rated = granted is None or granted.rated
        if rated and (wait := self._rates.wait_s(visit.who)):
            raise RefusedError(429, "rate_limit_exceeded", "too many requests with this key", retry_s=wait)
        if scope["method"] != "POST" and not streams:
            return None
        return self._place(headers, terms.body_bytes if granted is None else granted.most)

    def _judge(self, headers: Headers, visit: Visit) -> None:
        """See whose key a request comes with.

        Raises:
            RefusedError: If it is nobody's, or none is wanted and a page asks.
        """
        visit.who = self._keys.who(headers.get("authorization", "")) or ""
        if not visit.who:
            raise RefusedError(401, "invalid_api_key", "send a key that this server knows, as Bearer")
        if not self._keys and (headers.get("origin") or headers.get("sec-fetch-site", "none") != "none"):
            raise RefusedError(403, "no_browsers", "pages may not ask a server that wants no keys")

    def _place(self, headers: Headers, most: int) -> int:
        """Take a place inside, and the bytes of a body.

        Args:
            headers: Of the request.
            most: Bytes that its body may have, and has where it does not say.

        Raises:
            RefusedError: If the body is too long, or there is no place.
        """
        length = headers.get("content-length")
        count = int(length) if length is not None and length.isdecimal() else most
        if count > most:
            raise _too_large(most)
        if self.inside >= self._terms.queue or not self._bodies.take(count):
            raise RefusedError(429, "server_busy", "the server has its hands full", retry_s=1)
        self.inside += 1
        return count

    async def _read(self, receive: Receive, headers: Headers, granted: Pass | None) -> bytes:
        """A request's body.

        Raises:
            RefusedError: If it is too long, too slow, or made of more parts than anybody needs.
            GoneError: If it ends before its end.
        """
        body, more = bytearray(), True
        most = self._terms.body_bytes if granted is None else granted.most
        try:
            async with asyncio.timeout(self._terms.body_s):
                while more:
                    chunk, more = await _chunk(receive)
                    if len(body) + len(chunk) > most:
                        raise _too_large(most)
                    body += chunk
        except TimeoutError:
            raise RefusedError(408, "slow_body", "the request was not sent in time") from None
        raw = headers.get("content-type", "").startswith("multipart/") if granted is None else granted.raw
        if not raw and sum(body.count(mark) for mark in _MARKS) > MOST_MARKS:
            raise RefusedError(413, "too_many_parts", f"JSON with more than {MOST_MARKS} parts is not read")
        return bytes(body) if granted is None or granted.screen is None else granted.screen(bytes(body))

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


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, "too_large", f"requests have {most} bytes at most")


async def _refuse(refused: RefusedError, scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(refused.body, refused.status, refused.headers)(scope, receive, send)
