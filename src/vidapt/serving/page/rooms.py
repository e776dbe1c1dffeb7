"""The page's paths beside Gradio's: being let in, clips, and the few files that are its own."""

from __future__ import annotations

import importlib.resources
import re
from importlib.resources.abc import Traversable
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidapt.serving.app import House
from vidapt.serving.keys import Keys
from vidapt.serving.page.gate import CLIP, LOGIN, LOGOUT, ROOT, over_tls
from vidapt.serving.page.sessions import Sessions
from vidapt.serving.page.tabs import Tabs
from vidapt.serving.refused import RefusedError, wrong
from vidapt.serving.visits import Visit

_TYPES = {
    "svg": "image/svg+xml",
    "css": "text/css",
    "js": "text/javascript",
    "html": "text/html; charset=utf-8",
}
_SCRIPT = re.compile(rb"<script(?=[\s>])")
_ELSEWHERE = re.compile(rb'<link rel="manifest"[^>]*>|<meta\s+(?:property|name)="(?:og|twitter):[^>]*>')
_OURS = (
    b'<link rel="icon" href="own/icon.svg"><link rel="stylesheet" href="own/page.css">'
    b'<script src="own/page.js" defer></script></head>'
)


def add_rooms(app: FastAPI, house: House, keys: Keys, sessions: Sessions, tabs: Tabs) -> None:
    """Add the page's own paths to the application, before Gradio's are."""
    _serve_files(app)
    _serve_sessions(app, keys, sessions, tabs)

    @app.post(CLIP, include_in_schema=False)
    async def clip(request: Request) -> Response:
        content = await request.body()
        if len(content) > house.terms.clip.file_bytes:
            raise wrong("the clip is too large")
        kept = await run_in_threadpool(house.uploads.keep, _visit(request).who, content)
        return JSONResponse({"id": kept.id})


def _serve_files(app: FastAPI) -> None:
    @app.get("/page", include_in_schema=False)
    def root() -> Response:
        return RedirectResponse(ROOT)

    @app.get("/page/own/{name}", include_in_schema=False)
    def own(name: str) -> Response:
        if name.rpartition(".")[2] not in _TYPES or not (_folder() / name).is_file():
            raise RefusedError(404, "no_such_path", "there is nothing here")
        return _file(name)


def _serve_sessions(app: FastAPI, keys: Keys, sessions: Sessions, tabs: Tabs) -> None:
    @app.get(LOGIN, include_in_schema=False)
    def asks() -> Response:
        return _file("login.html")

    @app.post(LOGIN, include_in_schema=False)
    async def login(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        who = keys.who(f"Bearer {form.get('key', [''])[0]}")
        if who is None:
            return _file("unknown.html", 401)
        token, _ = sessions.open(who)
        cookie = sessions.header(token, encrypted=over_tls(request.headers))
        return RedirectResponse(ROOT, 303, {"set-cookie": cookie})

    @app.post(LOGOUT, include_in_schema=False)
    def logout(request: Request) -> Response:
        session = _session(request)
        sessions.close(session)
        tabs.forget(session)
        cookie = sessions.header("", encrypted=over_tls(request.headers))
        return RedirectResponse(ROOT, 303, {"set-cookie": cookie})


def _folder() -> Traversable:
    return importlib.resources.files("vidapt.serving.page") / "own"


def _file(name: str, status: int = 200) -> Response:
    return Response((_folder() / name).read_bytes(), status, media_type=_TYPES[name.rpartition(".")[2]])


class Dressed:
    """Stands before Gradio: its first answer gets our style and script, and a nonce for its own scripts.

    Args:
        app: Gradio's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        visit = scope.get("visit")
        if not isinstance(visit, Visit) or visit.granted is None or not visit.granted.nonce:
            await self._app(scope, receive, send)
            return
        nonce, start, body = visit.granted.nonce, dict[str, object](), bytearray()

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                whole = _dressed(bytes(body), nonce) if start["status"] == 200 else bytes(body)
                MutableHeaders(scope=start)["content-length"] = str(len(whole))
                await send(start)
                await send({"type": "http.response.body", "body": whole})

        # Packed, it could not be dressed.
        headers = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        await self._app({**scope, "headers": headers}, receive, dressed)


def _dressed(body: bytes, nonce: str) -> bytes:
    body = _SCRIPT.sub(b'<script nonce="%s"' % nonce.encode(), _ELSEWHERE.sub(b"", body))
    return body.replace(b"</head>", _OURS, 1)


def _visit(request: Request) -> Visit:
    found = request.scope["visit"]
    assert isinstance(found, Visit)
    return found


def _session(request: Request) -> str:
    granted = _visit(request).granted
    return granted.session if granted is not None else ""
