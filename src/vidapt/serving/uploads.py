"""Files that were uploaded to be asked about, each seen by whose key it came with alone."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from vidapt.serving.refused import RefusedError, wrong
from vidapt.serving.terms import Terms

_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAMED = re.compile(rb'form-data;[^\r\n]*?\bname="([^"\r\n]*)"', re.IGNORECASE)
_MOST_FILES = 256


@dataclass(frozen=True)
class Upload:
    """A file that is kept for a while.

    Attributes:
        id: What clients call it.
        who: Whose it is.
        path: Where it lies.
        size: In bytes.
        since: When it came, in seconds since 1970.
    """

    id: str
    who: str
    path: Path
    size: int
    since: float

    @property
    def body(self) -> dict[str, object]:
        """As clients are told."""
        about = {"id": self.id, "object": "file", "bytes": self.size, "created_at": int(self.since)}
        return about | {"filename": self.id, "purpose": "user_data", "status": "processed"}


class Uploads:
    """Files in a folder, by their ids. Any thread may ask.

    Args:
        folder: Where they lie.
        terms: How much is kept, for how long.
        clock: Seconds since 1970.
    """

    def __init__(self, folder: Path, terms: Terms, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._terms, self._clock = folder, terms, clock
        self._kept: dict[str, Upload] = {}
        self._lock = Lock()

    def keep(self, who: str, content: bytes) -> Upload:
        """Keep a file.

        Raises:
            RefusedError: If it is empty, or more than one key may keep.
        """
        if not content:
            raise wrong("the file is empty", "file")
        name = f"file-{secrets.token_hex(12)}"
        upload = Upload(name, who, self._folder / name, len(content), self._clock())
        with self._lock:
            self._forget_old()
            mine = [one.size for one in self._kept.values() if one.who == who]
            if sum(mine) + len(content) > self._terms.kept_bytes or len(mine) >= _MOST_FILES:
                message = "so much is kept already: delete files, or wait"
                raise RefusedError(429, "too_many_files", message, "file", self._terms.kept_s)
            self._kept[name] = upload
        upload.path.write_bytes(content)
        return upload

    def find(self, who: str, name: str) -> Upload:
        """A file that somebody uploaded.

        Raises:
            RefusedError: If there is none, or it is another one's.
        """
        with self._lock:
            self._forget_old()
            found = self._kept.get(name)
        if found is None or found.who != who:
            raise RefusedError(404, "no_such_file", "there is no such file (any more)", "file_id")
        return found

    def all_of(self, who: str) -> list[Upload]:
        """All that somebody uploaded."""
        with self._lock:
            self._forget_old()
            return [one for one in self._kept.values() if one.who == who]

    def drop(self, who: str, name: str) -> None:
        """Forget a file; see `find`."""
        found = self.find(who, name)
        with self._lock:
            self._kept.pop(name, None)
        found.path.unlink(missing_ok=True)

    def _forget_old(self) -> None:
        before = self._clock() - self._terms.kept_s
        for one in [one for one in self._kept.values() if one.since < before]:
            del self._kept[one.id]
            one.path.unlink(missing_ok=True)


def sent_file(content_type: str, body: bytes) -> bytes:
    """The part called `file` of a form (RFC 7578).

    Raises:
        RefusedError: If there is none.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        raise RefusedError(415, "no_form", "files are sent as multipart/form-data", "file")
    mark = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    at, body = 0, b"\r\n" + body
    while (start := body.find(mark, at)) >= 0:
        start += len(mark)
        end, head_end = body.find(mark, start), body.find(b"\r\n\r\n", start)
        if end < 0 or head_end < 0:
            break
        named = _NAMED.search(body[start : min(head_end, start + 4096)])
        if named is not None and named[1] == b"file" and head_end <= end:
            return body[head_end + 4 : end]
        at = end
    raise wrong("the form has no part called `file`", "file")
