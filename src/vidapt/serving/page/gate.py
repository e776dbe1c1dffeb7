"""Who may come to the page, and to which of its paths: all that are not named here are closed.

Gradio has many more (uploads into its own folders, files by their paths, a proxy, components' functions),
which the page needs none of.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

from pydantic import Field, ValidationError
from starlette.datastructures import Headers
from starlette.types import Scope

from vidapt.browsers import is_own, names_here
from vidapt.serving.keys import ANYONE, Keys
from vidapt.serving.page.lines import Lines
from vidapt.serving.page.sessions import Session, Sessions
from vidapt.serving.refused import RefusedError, wrong
from vidapt.serving.shapes import Letters, Shape
from vidapt.serving.terms import Terms
from vidapt.serving.visits import Pass

ROOT, LOGIN, LOGOUT, CLIP = "/page/", "/page/login", "/page/logout", "/page/clip"
JOIN, STREAM = "/page/gradio_api/queue/join", "/page/gradio_api/queue/data"

_OWN = re.compile(r"/page/own/[\w-]+\.(?:css|js|svg)")
_LIBRARY = re.compile(r"/page/(?:assets|static)/[\w-][\w.-]*(?:/[\w-][\w.-]*)*")
_THEME = "/page/theme.css"
_FORM_BYTES = 4096
_JOIN_BYTES = 1 << 20
_MOST_TABS = 4096

_HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
}
_STRICT = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_OF_PAGE = (
    # Gradio makes functions of its templates, and writes styles into elements.
    "default-src 'none'; script-src 'self' 'unsafe-eval' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src blob:; font-src 'self' data:; connect-src 'self'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


class Event(Shape):
    """What the page tells when something is done on it: words, never a file, which Gradio would fetch."""

    session_hash: Annotated[str, Field(pattern=r"^[a-z0-9]{1,40}$")]
    fn_index: Annotated[int, Field(ge=0, le=1000)]
    trigger_id: Annotated[int, Field(ge=0, le=100_000)] | None = None
    data: Annotated[list[Letters | None], Field(max_length=16)]


@dataclass(frozen=True)
class _Room:
    """What is behind a path: for whom, and at which cost; see `Pass`."""

    method: str
    named: str
    most: int = 0
    rated: bool = False
    streams: bool = False
    raw: bool = False


class Gate:
    """Says what requests to the page may do.

    Args:
        keys: Who may ask.
        terms: What is granted.
        sessions: Who is at the page.
        host: A name under which a server that wants no keys may be asked.
        lines: What is under way.
    """

    def __init__(self, keys: Keys, terms: Terms, sessions: Sessions, host: str, lines: Lines) -> None:
        self._keys, self._sessions, self._host, self._lines = keys, sessions, host, lines
        self._tabs: OrderedDict[str, str] = OrderedDict()
        self._rooms = {
            ROOT: _Room("GET", "/page"),
            _THEME: _Room("GET", "/page"),
            LOGOUT: _Room("POST", LOGOUT, _FORM_BYTES),
            CLIP: _Room("POST", CLIP, terms.body_bytes, rated=True, raw=True),
            JOIN: _Room("POST", "/page/ask", _JOIN_BYTES, rated=True),
            STREAM: _Room("GET", "/page/hear", streams=True),
        }

    @property
    def busy(self) -> bool:
        """Whether answers are written that no request waits for at this moment."""
        return self._lines.busy

    def admits(self, scope: Scope) -> Pass | None:
        """What a request may do; None for one that is not to the page.

        Raises:
            RefusedError: If it may not come in.
        """
        path = scope["path"]
        if path != "/page" and not path.startswith(ROOT):
            return None
        headers, method = Headers(scope=scope), "GET" if scope["method"] == "HEAD" else scope["method"]
        self._judge(headers, method)
        if (method, path) in (("GET", "/page"), ("POST", LOGIN), ("GET", LOGIN)) or _OWN.fullmatch(path):
            return Pass("", "/page", most=_FORM_BYTES, headers=_headers(_STRICT))
        session = self._sessions.find(headers.get("cookie", ""))
        if _LIBRARY.fullmatch(path):
            room = _Room("GET", "/page")
        elif path not in self._rooms:
            raise RefusedError(404, "no_such_path", "there is nothing here")
        else:
            room = self._rooms[path]
        if method != room.method:
            raise RefusedError(405, "no_such_method", f"only {room.method} is understood here")
        if session is None and path == ROOT:
            return self._first(headers)
        if session is None:
            raise RefusedError(401, "no_session", "open /page/ in a browser first")
        if room.streams:
            self._hears(scope, session)
        return self._pass(room, path, session)

    def _judge(self, headers: Headers, method: str) -> None:
        """See that no other site asks.

        Raises:
            RefusedError: If one does, or may.
        """
        if not self._keys and not names_here(headers.get("host", ""), self._host):
            raise RefusedError(403, "unknown_host", "this server is not asked under that name without keys")
        if not is_own(headers, method):
            raise RefusedError(403, "other_site", "another site may not ask")

    def _first(self, headers: Headers) -> Pass:
        """What a browser may do that comes for the first time: say its key, or look, where none is wanted."""
        if self._keys:
            return Pass("", "/page", leads_to=LOGIN, headers=_headers(_STRICT))
        token, session = self._sessions.open(ANYONE)
        found = self._pass(self._rooms[ROOT], ROOT, session)
        given = {"set-cookie": self._sessions.header(token, encrypted=over_tls(headers))}
        return Pass(found.who, found.named, session.id, nonce=found.nonce, headers={**found.headers, **given})

    def _pass(self, room: _Room, path: str, session: Session) -> Pass:
        nonce = secrets.token_urlsafe(16) if path == ROOT else ""
        headers = _headers(_OF_PAGE.format(nonce=nonce) if nonce else _STRICT)
        if _LIBRARY.fullmatch(path):  # their names change when they do
            headers["cache-control"] = "private, max-age=86400"
        return Pass(
            session.who,
            room.named,
            session.id,
            most=room.most,
            rated=room.rated,
            streams=room.streams,
            screen=(lambda body: self._event(body, session)) if path == JOIN else None,
            raw=room.raw,
            nonce=nonce,
            headers=headers,
        )

    def _event(self, body: bytes, session: Session) -> bytes:
        """What was done on the page, in words alone.

        Raises:
            RefusedError: If it is anything else, or another browser's tab, or one of too many.
        """
        try:
            event = Event.model_validate_json(body)
        except ValidationError as error:
            raise wrong(f"that is nothing the page tells: {error.errors()[0]['msg'][:200]}") from None
        if self._lines.words.get(event.fn_index) != len(event.data):
            raise wrong("that is nothing the page tells")
        owner = self._tabs.setdefault(event.session_hash, session.id)
        if owner != session.id:
            raise RefusedError(403, "other_session", "that is another browser's tab")
        self._lines.join(event.session_hash)
        self._tabs.move_to_end(event.session_hash)
        if len(self._tabs) > _MOST_TABS:
            self._tabs.popitem(last=False)
        words = [one or "" for one in event.data]
        return event.model_copy(update={"data": words}).model_dump_json().encode()

    def _hears(self, scope: Scope, session: Session) -> None:
        """See that nobody hears what another browser asked.

        Raises:
            RefusedError: If somebody wants to.
        """
        if self._tabs.get(tab_of(scope)) != session.id:
            raise RefusedError(404, "no_such_tab", "nothing was asked there")


def tab_of(scope: Scope) -> str:
    """The tab that hears a stream; empty where several or none are named."""
    names = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
    return names[0] if len(names) == 1 else ""


def over_tls(headers: Mapping[str, str]) -> bool:
    """Whether a browser asked over TLS, as a proxy says; who lies gets a cookie that is sent more seldom."""
    return headers.get("x-forwarded-proto", "").lower() == "https"


def _headers(policy: str) -> dict[str, str]:
    return {**_HEADERS, "content-security-policy": policy}
