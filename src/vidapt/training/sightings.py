"""What footage was when a run first saw it, where there is too much of it to be looked at before work begins.

It is a table of a fixed size in the run's folder, sixteen bytes a clip, filled as steps come to their clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from vidapt.errors import ConfigError
from vidapt.nouns import Clip
from vidapt.training.footprints import stamp_of
from vidapt.video.identity import identity


class ChangedError(ConfigError):
    """Footage is not what it was when a run first saw it."""


class Sightings:
    """Stamps and contents of the clips of a label file.

    Args:
        run: Folder of the run.
        name: Tells the label file from others of the run.
        clips: How many it names.
    """

    def __init__(self, run: Path, name: str, clips: int) -> None:
        self._run, self._file, self._clips = run, run / f"footage-{name[:16]}.bin", clips
        self._rows: np.memmap | None = None

    def see(self, number: int, media: Sequence[Clip]) -> None:
        """Look at a clip's files. What has its old size and time is not read.

        Args:
            number: Of the clip in its label file.
            media: What it is made of.

        Raises:
            ChangedError: If it is not what it was when the run first saw it.
            OSError: If a file cannot be read.
        """
        rows = self._opened()
        before = rows[number].tolist()
        stamp = _hashed("\n".join(stamp_of(clip.path) for clip in media))
        if before[0] == stamp:
            return
        content = _hashed("\n".join(identity(clip.path) for clip in media))
        if any(before) and before[1] != content:
            raise ChangedError(
                self._run,
                f"a clip has changed since it began: {', '.join(clip.id for clip in media)}",
                "put it back as it was, or choose another `name` and train anew",
            )
        rows[number] = stamp, content

    def _opened(self) -> np.memmap:
        if self._rows is None:
            size = self._clips * 16
            if not self._file.exists() or self._file.stat().st_size != size:
                with self._file.open("wb") as file:
                    file.truncate(size)
            self._rows = np.memmap(self._file, np.uint64, "r+", shape=(self._clips, 2))
        return self._rows


def _hashed(text: str) -> int:
    """64 bits of a text, of which one is set: a row of zeros is a clip nobody has seen."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) | 1
