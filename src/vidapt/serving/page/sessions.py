"""Who is at a page: browsers that were let in once, by a cookie that no script reads."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

_MOST = 4096
_IDLE_S = 12 * 3600.0


@dataclass
class Session:
    """A browser that was let in.

    Attributes:
        id: Digest of its cookie.
        who: Whose key it came with.
        seen: When it asked last.
    """

    id: str
    who: str
    seen: float


class Sessions:
    """Browsers by the digests of their cookies, so that nothing in memory is worth stealing.

    Used by one event loop; whoever has not asked for longest is forgotten first.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, Session] = OrderedDict()
        # Cookies do not know ports: two servers of one machine must not overwrite each other's.
        self.cookie = f"vidapt-{secrets.token_hex(4)}"

    def open(self, who: str) -> tuple[str, Session]:
        """Let a browser in.

        Returns:
            What its cookie is to hold, and its session.
        """
        token = secrets.token_urlsafe(32)
        session = Session(_digest(token), who, self._clock())
        self._known[session.id] = session
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return token, session

    def find(self, cookies: str) -> Session | None:
        """The session that a header's cookies belong to; None if they belong to none."""
        try:
            morsel = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return None
        session = self._known.get(_digest(morsel.value)) if morsel is not None else None
        if session is None:
            return None
        now = self._clock()
        if now - session.seen > _IDLE_S:
            self.close(session.id)
            return None
        session.seen = now
        self._known.move_to_end(session.id)
        return session

    def close(self, ident: str) -> None:
        """Forget a session."""
        self._known.pop(ident, None)

    def header(self, token: str, *, encrypted: bool) -> str:
        """The header that gives a browser its cookie; an empty token takes it away.

        Args:
            token: What `open` returned.
            encrypted: Whether the browser asked over TLS.
        """
        parts = [f"{self.cookie}={token}", "Path=/page", "HttpOnly", "SameSite=Strict"]
        return "; ".join(parts + ["Secure"] * encrypted + ["Max-Age=0"] * (not token))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
