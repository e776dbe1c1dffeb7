"""Whom a browser asks for: the page it shows, or another site that would like to ask in its name."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def names_here(host: str, also: str = "") -> bool:
    """Whether a name is one that no other site can have: a name server may point any other one here.

    Args:
        host: As the header `Host` has it.
        also: A name under which the server may be asked, beside `localhost` and addresses in numbers.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name in ("localhost", also):
            return bool(name)
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_own(headers: Mapping[str, str], method: str) -> bool:
    """Whether a request is one of the page's own, or opens it: also by a link, as in a browser's terminal.

    Args:
        headers: By names in small letters.
        method: Of the request.
    """
    host = headers.get("host", "")
    if headers.get("origin", f"http://{host}") not in (f"http://{host}", f"https://{host}"):
        return False
    opens = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    return opens or headers.get("sec-fetch-site", "none") in ("none", "same-origin")
