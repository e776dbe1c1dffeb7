"""Clips and pictures of a request: taken out of it into files, and decoded in processes that may die."""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip, Frames
from vidapt.serving.fetch import Fetcher
from vidapt.serving.purse import Purse
from vidapt.serving.refused import RefusedError, wrong
from vidapt.serving.shapes import FilePart, ImagePart, Media, VideoPart
from vidapt.serving.terms import Terms
from vidapt.serving.uploads import Uploads
from vidapt.video import Crew, Policy
from vidapt.video.picture_file import looks_like_picture

_DATA = re.compile(r"data:(image|video)/[\w.+-]{1,64}(?:;[\w.=+-]{1,64})*;base64,", re.ASCII)
_HEAD = 512


@dataclass(frozen=True)
class Sight:
    """How a model looks at clips.

    Attributes:
        policy: Which frames it takes.
        size: (height, width) to which they are made smaller; None where they stay as they are.
        frames: How many it takes at most.
    """

    policy: Policy
    size: tuple[int, int] | None
    frames: int


class Viewer:
    """Gets clips out of requests and decodes them.

    Args:
        terms: What they may cost.
        uploads: Files that were uploaded.
        folder: Where clips lie meanwhile.
        fetcher: Fetches from addresses; None where none are.
    """

    def __init__(self, terms: Terms, uploads: Uploads, folder: Path, fetcher: Fetcher | None = None) -> None:
        self._terms, self._uploads, self._folder, self._fetcher = terms, uploads, folder, fetcher
        self._crew = Crew(terms.workers, terms.clip)
        self._threads = ThreadPoolExecutor(max(1, terms.workers), thread_name_prefix="vidapt-serve-decode")
        # Addresses may be slow, and must not keep others' clips from being decoded.
        self._callers = ThreadPoolExecutor(8, thread_name_prefix="vidapt-serve-fetch")
        self._frames = Purse(terms.frames_bytes)

    def close(self) -> None:
        """End all decoding."""
        self._crew.stop()
        self._callers.shutdown(wait=False, cancel_futures=True)
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._crew.dismiss()

    @asynccontextmanager
    async def looking(
        self, media: Sequence[Media], who: str, sight: Sight
    ) -> AsyncIterator[list[tuple[Clip, Frames]]]:
        """Decode the clips of a request; their frames are charged for as long as the context lasts.

        Raises:
            RefusedError: If one cannot be used.
        """
        if not media:
            yield []
            return
        async with self._frames.hold(len(media) * self._worst(sight)):
            yield await self._decoded(media, who, sight)

    def _worst(self, sight: Sight) -> int:
        """Bytes that the frames of one clip can have."""
        most = self._terms.clip.memory_bytes
        return most if sight.size is None else min(most, sight.frames * sight.size[0] * sight.size[1] * 3)

    async def _decoded(self, media: Sequence[Media], who: str, sight: Sight) -> list[tuple[Clip, Frames]]:
        loop, found = asyncio.get_running_loop(), []
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as home:
            for index, part in enumerate(media):
                out = Path(home) / str(index)
                threads = self._callers if _url_of(part).startswith("http") else self._threads
                path = await loop.run_in_executor(threads, self._placed, part, who, out)
                found.append(await loop.run_in_executor(self._threads, self._frames_of, path, part, sight))
        return found

    def _placed(self, part: Media, who: str, out: Path) -> Path:
        """The file that a part is about."""
        if isinstance(part, FilePart):
            return self._uploads.find(who, part.file.file_id).path
        url = _url_of(part)
        if url.startswith("data:"):
            out.write_bytes(self._content(url, part))
        elif not url.startswith(("http://", "https://")):
            raise wrong("clips come as data:...;base64,... or by the id of a file", part.type, "refused_url")
        elif self._fetcher is None:
            raise wrong("this server fetches nothing: send the clip itself", part.type, "refused_url")
        else:
            self._fetcher.fetch(url, out)
        return out

    def _content(self, url: str, part: ImagePart | VideoPart) -> bytes:
        match = _DATA.match(url, 0, _HEAD)
        kind = part.type.removesuffix("_url")
        if match is None or match[1] != kind:
            message = f"{part.type} is to be data:{kind}/...;base64,..."
            raise RefusedError(415, "wrong_media_type", message, part.type)
        if (len(url) - match.end()) * 3 // 4 > self._terms.clip.file_bytes:
            raise RefusedError(413, "too_large", "the clip is too large", part.type)
        try:
            return binascii.a2b_base64(url[match.end() :], strict_mode=True)
        except (binascii.Error, ValueError):  # the latter for letters beyond ASCII
            raise wrong("its base64 is broken", part.type, "broken_base64") from None

    def _frames_of(self, path: Path, part: Media, sight: Sight) -> tuple[Clip, Frames]:
        """A clip by its content, and its frames."""
        if not path.is_file() or not path.stat().st_size:
            raise wrong("the clip is empty", part.type, "unusable_media")
        if not isinstance(part, FilePart) and looks_like_picture(path) != isinstance(part, ImagePart):
            raise RefusedError(415, "wrong_media_type", f"that is nothing for {part.type}", part.type)
        with path.open("rb") as file:
            clip = Clip(hashlib.file_digest(file, "sha256").hexdigest()[:24], path)
        frames = self._crew.decode(clip, sight.policy, sight.size)
        if isinstance(frames, BrokenClip):
            reason = frames.reason.replace(str(path), "it")
            raise wrong(f"the clip cannot be used: {reason}", part.type, "unusable_media")
        return clip, frames


def _url_of(part: Media) -> str:
    if isinstance(part, ImagePart):
        return part.image_url.url
    return part.video_url.url if isinstance(part, VideoPart) else ""
