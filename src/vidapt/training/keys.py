"""What clips are kept under: their content and the stretch used, wherever they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

from vidapt.digests import digest
from vidapt.nouns import Clip
from vidapt.training.ahead import Item
from vidapt.training.footprints import Footprint, look

_MOST = 200_000
"""Files and keys remembered; of those forgotten, the content is looked at anew."""


class ClipKeys:
    """Keys of clips; each file is looked at once.

    Args:
        contents: What is known already.
    """

    def __init__(self, contents: Mapping[Path, str] = MappingProxyType({})) -> None:
        self._contents, self._most = dict(contents), len(contents) + _MOST

    def look(self, clips: Iterable[Clip]) -> None:
        """Look at the clips' files ahead, several at a time."""
        if len(self._contents) >= self._most:
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


class ItemKeys:
    """Keys under which clips are kept, of which it matters how they are cut.

    Args:
        contents: What is known already.
        side_of: Side of the square that a clip's frames are resized to; None leaves them as they are.
        apart: Whether a still is cut in another way where it is read together with others.
    """

    def __init__(
        self, contents: Mapping[Path, str], side_of: Callable[[Clip], int | None], *, apart: bool
    ) -> None:
        self._clips, self._side_of, self._apart = ClipKeys(contents), side_of, apart
        self._known: dict[Item, str] = {}

    def look(self, clips: Iterable[Clip]) -> None:
        """Look at the clips' files ahead, several at a time."""
        self._clips.look(clips)

    def __call__(self, item: Item) -> str:
        """The key of a clip that is read together with so many."""
        if item not in self._known:
            if len(self._known) >= _MOST:
                self._known.clear()
            key, side = self._clips(item[0]), self._side_of(item[0])
            words = [key, "images"] if self._apart and item[1] > 1 else [key]
            words += [] if side is None else [f"side {side}"]
            self._known[item] = digest(words) if len(words) > 1 else key
        return self._known[item]


def _known(found: Footprint) -> str:
    # Decoding will say what is wrong with a file that cannot be read; nothing is ever found under this name.
    return found.content or uuid4().hex
