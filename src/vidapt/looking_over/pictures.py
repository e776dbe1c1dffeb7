"""Frames of clips as small JPEGs: decoded in processes that may die, the last asked for first, and kept."""

from __future__ import annotations

import io
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidapt.digests import digest
from vidapt.errors import BrokenClip, VidaptError
from vidapt.nouns import Clip
from vidapt.video import Limits, Policy, Wanted, decode_each

LIMITS = Limits(memory_bytes=192 << 20, frames=1, wall_s=20.0)
"""Of one frame of one clip."""

_HANDS = 2
_WAITING = 96
"""Frames that wait; of more, the one that has waited longest is given up: nobody looks at it any more."""
_KEPT_BYTES = 256 << 20
_KEPT_REASONS = 10_000
_FAREWELL_S = 2.0


class BusyError(Exception):
    """Too many frames are wanted at once; ask again."""


@dataclass(frozen=True)
class _Job:
    key: str
    clip: Clip
    policy: Policy
    side: int
    done: Future[bytes] = field(default_factory=Future)


class Pictures:
    """Frames of clips, kept in a folder.

    Args:
        folder: Made when needed, and may be deleted. Where nothing can be written there, nothing is kept.
        kept_bytes: Most that is kept; what was made first goes first.
    """

    def __init__(self, folder: Path, kept_bytes: int = _KEPT_BYTES) -> None:
        self._folder, self._kept_bytes = folder, kept_bytes
        self._more = Condition()
        self._waiting: OrderedDict[str, _Job] = OrderedDict()
        self._broken: dict[str, str] = {}
        self._closed = False
        self._bytes = sum(file.stat().st_size for file in folder.glob("*.jpg"))
        self._hands = [
            Thread(target=self._work, daemon=True) for _ in range(min(_HANDS, os.cpu_count() or 1))
        ]
        for hand in self._hands:
            hand.start()

    def close(self) -> None:
        """Stop; what still waits is given up."""
        with self._more:
            self._closed = True
            left = list(self._waiting.values())
            self._waiting.clear()
            self._more.notify_all()
        for job in left:
            job.done.set_exception(BusyError("too many frames are wanted"))
        for hand in self._hands:
            hand.join(_FAREWELL_S)

    def frame(self, clip: Clip, policy: Policy, side: int) -> Future[bytes]:
        """A JPEG of the frame that a policy takes, its longest side at most `side` pixels.

        Returns:
            The bytes; or what is wrong with the clip (`BrokenClip`), or `BusyError`.
        """
        key = _key(clip, policy, side)
        job = _Job(key, clip, policy, side)
        if (reason := self._broken.get(key)) is not None:
            job.done.set_exception(BrokenClip(clip.path, reason))
            return job.done
        with suppress(OSError):
            job.done.set_result((self._folder / f"{key}.jpg").read_bytes())
            return job.done
        with self._more:
            there = self._waiting.pop(key, job)
            if self._closed:
                there.done.set_exception(BusyError("too many frames are wanted"))
                return there.done
            self._waiting[key] = there
            given_up = self._waiting.popitem(last=False)[1] if len(self._waiting) > _WAITING else None
            self._more.notify()
        if given_up is not None:
            given_up.done.set_exception(BusyError("too many frames are wanted"))
        return there.done

    def _next(self) -> _Job | None:
        with self._more:
            while not self._waiting and not self._closed:
                self._more.wait()
            return None if self._closed else self._waiting.popitem()[1]

    def _work(self) -> None:
        """Decode one frame after the other, with a process of one's own."""
        while not self._closed:
            at_hand: list[_Job] = []

            def wanted(at_hand: list[_Job] = at_hand) -> Iterator[Wanted]:
                while (job := self._next()) is not None:
                    at_hand[:] = [job]
                    yield Wanted(job.clip, job.policy)

            try:
                for _, found in decode_each(wanted(), workers=1, ahead=1, limits=LIMITS):
                    self._hand_out(at_hand.pop(), found if isinstance(found, BrokenClip) else found.pixels[0])
            except VidaptError as error:  # no process can be started
                for job in at_hand:
                    job.done.set_exception(BrokenClip(job.clip.path, str(error)))

    def _hand_out(self, job: _Job, found: BrokenClip | NDArray[np.uint8]) -> None:
        if isinstance(found, BrokenClip):
            if len(self._broken) >= _KEPT_REASONS:
                self._broken.clear()
            self._broken[job.key] = found.reason
            job.done.set_exception(found)
            return
        picture, file = Image.fromarray(found), io.BytesIO()
        picture.thumbnail((job.side, job.side))
        picture.save(file, "JPEG", quality=82)
        with suppress(OSError):
            self._keep(job.key, file.getvalue())
        job.done.set_result(file.getvalue())

    def _keep(self, key: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{key}.{secrets.token_hex(4)}.part"
        part.write_bytes(data)
        part.replace(self._folder / f"{key}.jpg")
        self._bytes += len(data)
        if self._bytes > self._kept_bytes:
            self._make_room()

    def _make_room(self) -> None:
        """Delete the oldest frames until three quarters are left."""
        files = sorted(
            (file.stat().st_mtime_ns, file.stat().st_size, file) for file in self._folder.iterdir()
        )
        total = sum(size for _, size, _ in files)
        for _, size, file in files:
            if total <= self._kept_bytes * 3 // 4:
                break
            file.unlink(missing_ok=True)
            total -= size
        self._bytes = total


def _key(clip: Clip, policy: Policy, side: int) -> str:
    try:
        status = clip.path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
    except (OSError, ValueError):
        stamp = []
    place = [str(clip.path.absolute()), clip.start_s, clip.end_s, clip.rate]
    return digest([place, stamp, policy.model_dump(mode="json"), side])
