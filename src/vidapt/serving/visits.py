"""One request as it is noted, and what one that comes from the page may do."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.types import Scope


@dataclass(frozen=True)
class Pass:
    """What a request to the page may do.

    Attributes:
        who: Whose session it belongs to.
        named: As what it is noted.
        session: Which session that is; empty for what needs none.
        most: Bytes of its body.
        rated: Whether it is one of so many in a minute.
        streams: Whether its answer lasts as long as questions are answered, and takes a place among them.
        screen: Makes of a body the one that is handed on, or refuses it.
        raw: Whether the body is a file.
        leads_to: The path that answers it, where that is another one.
        nonce: Of scripts that its answer holds.
        headers: Of its answer.
    """

    who: str
    named: str
    session: str = ""
    most: int = 0
    rated: bool = False
    streams: bool = False
    screen: Callable[[bytes], bytes] | None = None
    raw: bool = False
    leads_to: str = ""
    nonce: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate(Protocol):
    """Says what requests to a page may do, which have no key with them."""

    def admits(self, scope: Scope) -> Pass | None:
        """What a request may do; None for one that is not to the page.

        Raises:
            RefusedError: If it may not come in.
        """

    @property
    def busy(self) -> bool:
        """Whether answers are written that no request waits for at this moment."""


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
        granted: What it may do, if it is to the page.
    """

    path: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    who: str = ""
    status: int = 0
    size: int = 0
    told: dict[str, Any] = field(default_factory=dict)
    granted: Pass | None = None
