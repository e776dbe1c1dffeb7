"""What clips are kept under: their content and the stretch used, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from vidapt.nouns import Clip
from vidapt.training.cache import digest
from vidapt.video.identity import identity

_THREADS = 8
"""Files looked at together: a few reads each, which on a shared disk are mostly waiting."""

_TOGETHER = 1000
"""Files handed to the threads at once, so that a million of them do not stand in a queue."""


class ClipKeys:
    """Keys of clips; each file is looked at once."""

    def __init__(self) -> None:
        self._contents: dict[Path, str] = {}

    def look(self, clips: Iterable[Clip]) -> None:
        """Look at the clips' files ahead, several at a time."""
        paths = [path for path in dict.fromkeys(clip.path for clip in clips) if path not in self._contents]
        with ThreadPoolExecutor(_THREADS) as threads:
            for at in range(0, len(paths), _TOGETHER):
                some = paths[at : at + _TOGETHER]
                self._contents |= zip(some, threads.map(_content, some), strict=True)

    def __call__(self, clip: Clip) -> str:
        """The clip's key: equal for equal content and stretch.

        The suffix counts as well, because it weighs where the decoder guesses what a file is.
        """
        if clip.path not in self._contents:
            self._contents[clip.path] = _content(clip.path)
        return digest(self._contents[clip.path], clip.path.suffix.lower(), clip.start_s, clip.end_s)


def _content(path: Path) -> str:
    try:
        return identity(path)
    except OSError:
        return uuid4().hex  # decoding will say what is wrong; nothing is ever found under this name
