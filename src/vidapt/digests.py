"""What tells two plain values apart, and seeds that follow from words."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any, digits: int = 24) -> str:
    """First hex digits of the SHA-256 of a value's canonical JSON; other objects go by their text."""
    text = json.dumps(value, sort_keys=True, default=str, separators=(",", ":"))
    return _sha256(text).hex()[:digits]


def seed_of(*words: object) -> int:
    """64 bits that follow from words: the same for the same ones, on every machine."""
    return int.from_bytes(_sha256("\0".join(map(str, words)))[:8])


def _sha256(text: str) -> bytes:
    # Names of files may hold bytes that are no letters, which no encoding writes.
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
