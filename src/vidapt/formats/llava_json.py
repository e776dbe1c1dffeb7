"""LLaVA's labels: a JSON list (or JSON lines) of conversations between `human` and `gpt`.

A row is `{"id"?, "image" | "video": path or list of paths, "conversations": [{"from", "value"}, ...]}`, as
published with LLaVA (Liu et al. 2023, arXiv 2304.08485) and LLaVA-Video. A row without media is plain text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from vidapt.formats._base import FileConfig, distinct, read_samples
from vidapt.formats._media import TINY_STILL, MediaFinder
from vidapt.formats._row import Row
from vidapt.formats._talk import conversation, in_mark_order, role_of
from vidapt.nouns import Role, Sample, Turn

_ROLES: Mapping[str, Role] = {"human": "user", "gpt": "assistant", "system": "system"}
_KEYS = frozenset({"image", "video", "conversations"})


class Part:
    """Reads LLaVA's labels."""

    class Config(FileConfig):
        """Options; `media_root` is what LLaVA calls the image or video folder."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    @staticmethod
    def recognises(path: Path, keys: frozenset[str]) -> bool:
        """Whether a file whose first row has these keys is in this format."""
        return "conversations" in keys and not keys & {"images", "videos"}

    def read(self, path: Path) -> Iterator[Sample]:
        """Yield the samples of a label file, lazily.

        Raises:
            FormatError: If a row is unsound, or, at the end, if media are missing.
        """
        finder = MediaFinder(path, self.cfg.media_root)
        yield from distinct(read_samples(path, self.cfg, lambda row: _sample(row, finder)))


def _sample(row: Row, finder: MediaFinder) -> Sample:
    row.no_slips(_KEYS)
    spoken = [row.inner(entry, "a turn of 'conversations'") for entry in row.listed("conversations")]
    turns = [Turn(role_of(turn.text("from"), _ROLES, turn), turn.text("value")) for turn in spoken]
    given = in_mark_order(turns, row.texts("image"), row.texts("video"), row)
    media = tuple(finder.clip(path, row) for path in given)
    return Sample(row.identity(), media, conversation(turns, len(media), row), source=row.where)


def tiny() -> Part:
    """The format with its defaults."""
    return Part(Part.Config())


def tiny_data(folder: Path) -> Path:
    """Write the smallest label file and its medium into `folder`; return the file."""
    (folder / "still.gif").write_bytes(TINY_STILL)
    path = folder / "llava.json"
    path.write_text(
        '[{"id": "0", "video": "still.gif", "conversations": [\n'
        ' {"from": "human", "value": "<video>\\nwhat colour?"}, {"from": "gpt", "value": "black."}]}]\n'
    )
    return path
