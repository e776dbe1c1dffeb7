"""What clips are kept under: their content and the stretch used, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

from vidapt.digests import digest
from vidapt.nouns import Clip
from vidapt.training.footprints import Footprint, look

_MOST = 1_000_000
"""Files remembered; of those forgotten, the content is looked at anew."""


class ClipKeys:
    """Keys of clips; each file is looked at once.

    Args:
        contents: What is known already.
    """

    def __init__(self, contents: Mapping[Path, str] = MappingProxyType({})) -> None:
        self._contents = dict(contents)

    def look(self, clips: Iterable[Clip]) -> None:
        """Look at the clips' files ahead, several at a time."""
        if len(self._contents) >= _MOST:
            self._contents.clear()
        paths = [path for path in dict.fromkeys(clip.path for clip in clips) if path not in self._contents]
        self._contents |= {path: _known(found) for path, found in look(paths, {}).items()}

    def __call__(self, clip: Clip) -> str:
        """The clip's key: equal for equal content and stretch.

        The suffix counts as well, because it weighs where the decoder guesses what a file is.
        """
        if clip.path not in self._contents:
            self.look([clip])
        stretch = [clip.start_s, clip.end_s, *([] if clip.rate is None else [clip.rate])]
        return digest([self._contents[clip.path], clip.path.suffix.lower(), *stretch])


def _known(found: Footprint) -> str:
    # Decoding will say what is wrong with a file that cannot be read; nothing is ever found under this name.
    return found.content or uuid4().hex
