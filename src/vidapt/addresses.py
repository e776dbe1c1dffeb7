"""Servers by their addresses, and the keys they are asked with, which come from the environment alone."""

from __future__ import annotations

import os
import re
import urllib.parse

from vidapt.errors import ConfigError

_KEYS = re.compile(
    r"\b(?:sk|pk|rk)-[\w-]{16,}|\bBearer\s+\S{12,}|\bAIza[\w-]{20,}|\b(?:hf|gsk|ghp|gho|r8)_[A-Za-z0-9]{20,}"
    r"|\b(?:xai|nvapi)-[A-Za-z0-9]{16}[\w-]*|\bAKIA[A-Z0-9]{12,}|\beyJ[\w-]{10,}\.[\w-]{10,}",
    re.IGNORECASE,
)
"""How the keys of well-known services look."""

HIDDEN = "[key]"
"""What is written where a key stood."""


def base_url(url: str, where: str) -> str:
    """Where the interface of a server begins.

    Args:
        url: With or without `/v1`.
        where: The option or place it comes from, for errors.

    Raises:
        ConfigError: If it is no address, or holds more than one: a user, a password, a query.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise ConfigError(where, f"is no address ({error})", "give http://HOST:PORT") from None
    if parts.username or parts.password:
        raise ConfigError(where, "an address holds no secrets", "name a variable that holds the key")
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise ConfigError(where, f"{url!r} is no address of a server", "give http://HOST:PORT")
    if parts.query or parts.fragment:
        raise ConfigError(where, "an address ends with its path", "give http://HOST:PORT")
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def checked_key(key: str, where: str) -> str:
    """A key that a header may hold.

    Raises:
        ConfigError: If it is empty or has other letters; the key is not told.
    """
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(where, "is empty or has letters that no header may have", "set it anew")
    return key


def key_from(variable: str, where: str) -> str:
    """The key that a variable of the environment holds.

    Raises:
        ConfigError: If it is not set, or holds no key.
    """
    if variable not in os.environ:
        raise ConfigError(where, f"{variable} is not set", f"export {variable}=...")
    return checked_key(os.environ[variable].strip(), f"{where}: {variable}")


def looks_like_key(text: str) -> bool:
    """Whether a secret may stand in a text."""
    return _KEYS.search(text) is not None


def without(text: str, key: str | None) -> str:
    """A text in which a key, if it stands there, and whatever looks like one is not to be read."""
    if key:
        text = text.replace(key, HIDDEN)
    return _KEYS.sub(HIDDEN, text)
