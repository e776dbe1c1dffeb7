"""Keys of those who may ask. Files hold hashes alone: who reads one cannot ask with it.

A key that vidapt makes holds 256 random bits, which nobody finds by trying; a plain hash of it is as good as
a slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vidapt.addresses import checked_key
from vidapt.errors import ConfigError, FormatError
from vidapt.files import disk_errors, exists, write_text

VARIABLE = "VIDAPT_SERVE_KEY"
"""Of the environment: one key, as it is."""

ANYONE = "anyone"
"""Who asks where no keys are wanted."""

_SHORTEST = 20
_NAME = re.compile(r"[\w.-]{1,64}")
_LINE = re.compile(r"([\w.-]{1,64})\s+sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Key:
    """A key as it is kept: whose it is, and its SHA-256."""

    name: str
    digest: str


class Keys:
    """Who may ask.

    Args:
        keys: Without any, everybody may.
    """

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = tuple(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def who(self, authorization: str) -> str | None:
        """Whose key a request's header holds; None if nobody's."""
        if not self._keys:
            return ANYONE
        scheme, _, key = authorization.partition(" ")
        digest = digest_of(key.strip())
        # All are compared, in the same time whichever it is.
        found = [one.name for one in self._keys if hmac.compare_digest(one.digest, digest)]
        return found[0] if found and scheme.lower() == "bearer" else None


def digest_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def read_keys(path: Path | None, environment: str | None = None) -> Keys:
    """Keys of a file and of the environment.

    Args:
        path: Lines of `NAME sha256:HEX`; empty ones and those behind `#` are passed over.
        environment: The value of `VIDAPT_SERVE_KEY`.

    Raises:
        FormatError: If a line is none, or a name is there twice.
        ConfigError: If there is no such file, it holds no key, or that of the environment is quickly guessed.
    """
    found: dict[str, Key] = {}
    for number, line in enumerate(_lines(path), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            remedy = "lines are NAME sha256:HEX; `vidapt serve-key NAME` adds one"
            raise FormatError(f"{path}:{number}", "is no line of a key", remedy)
        if match[1] in found:
            raise FormatError(f"{path}:{number}", f"{match[1]} has a key already", "take one of them out")
        found[match[1]] = Key(match[1], match[2])
    if path is not None and not found:
        raise ConfigError("--keys", f"{path} holds no key", "add one: vidapt serve-key NAME --keys FILE")
    if environment is not None:
        if len(checked_key(environment.strip(), VARIABLE)) < _SHORTEST:
            raise ConfigError(VARIABLE, "is short enough to be guessed", f"give {_SHORTEST} letters or more")
        found[VARIABLE] = Key(VARIABLE, digest_of(environment.strip()))
    return Keys(found.values())


def add_key(path: Path, name: str) -> str:
    """Make a key and add its hash to a file.

    Returns:
        The key, which is kept nowhere.

    Raises:
        ConfigError: If the name cannot be used, or has a key already.
        FormatError: If the file is no file of keys.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError("NAME", f"{name!r} is no name for a key", "letters, digits, dots and dashes")
    before = list(_lines(path)) if exists(path) else []
    if any(line.split()[:1] == [name] for line in before):
        raise ConfigError("NAME", f"{name} has a key already", f"take its line out of {path} first")
    key = f"sk-vidapt-{secrets.token_urlsafe(32)}"
    write_text(path, "".join(f"{line}\n" for line in (*before, f"{name} sha256:{digest_of(key)}")))
    return key


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    if not exists(path):
        raise ConfigError("--keys", f"{path} is not there", "make it: vidapt serve-key NAME --keys FILE")
    with disk_errors(path):
        try:
            return path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise FormatError(path, "is no text", "lines are NAME sha256:HEX") from None
