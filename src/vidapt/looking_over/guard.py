"""Who may ask the page's server, and for how much: everything else is turned away before it is looked at.

The address holds a token that only the person at the keyboard was told. Beside that, requests that a browser
makes for another site are refused by `Host` (a name that was bent to point here), `Origin` and
`Sec-Fetch-Site`.
"""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidapt.browsers import is_own, names_here

MOST_BYTES = 8 << 20
"""Of what a browser sends: a text of a million letters, as JSON, each of six bytes."""

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Stands before an application.

    Args:
        app: Sees paths without the token.
        token: First part of every path.
        host: A name under which the server may be asked, beside `localhost` and addresses in numbers.
    """

    def __init__(self, app: ASGIApp, token: str, host: str = "") -> None:
        self._app, self._token, self._host = app, token, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            return
        refused = self._refuse(scope)
        if refused is not None:
            await PlainTextResponse(refused[1], refused[0], _HEADERS)(scope, receive, send)
            return
        left = MOST_BYTES

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, "too large")
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        path = scope["path"].removeprefix(f"/{self._token}")
        await self._app({**scope, "path": path, "raw_path": path.encode()}, counted, guarded)

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        """Status and words for a request that is turned away."""
        headers, method = Headers(scope=scope), scope["method"]
        host, length = headers.get("host", ""), headers.get("content-length", "0")
        kind = headers.get("content-type", "").partition(";")[0].strip()
        first, slash, _ = scope["path"].removeprefix("/").partition("/")
        if not names_here(host, self._host):
            return 403, "this server is not asked under that name"
        if not is_own(headers, method):
            return 403, "another site may not ask"
        if not secrets.compare_digest(first.encode(), self._token.encode()) or not slash:
            return 404, "nothing here: open the address that vidapt printed"
        if method not in ("GET", "HEAD", "POST"):
            return 405, "only GET and POST"
        if method == "POST" and kind != "application/json":
            return 415, "only JSON"
        return (413, "too large") if length.isdecimal() and int(length) > MOST_BYTES else None
