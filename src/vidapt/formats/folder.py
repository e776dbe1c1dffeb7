"""A folder of clips with a text beside each.

Beside `clip.mp4` lies `clip.txt` with its caption, or `clip.json` with `caption`, or `question` and `answer`
(or any other label of a `vidapt_jsonl` row). Clips come in natural order: `2.mp4` before `10.mp4`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vidapt.errors import FormatError
from vidapt.formats._base import CAPTION_PROMPT, LABEL_KEYS, labelled
from vidapt.formats._media import MOST_LISTED, STILL_SUFFIXES, TINY_STILL, VIDEO_SUFFIXES
from vidapt.formats._row import Row
from vidapt.formats._scan import json_document, read_utf8
from vidapt.nouns import Clip, Sample
from vidapt.parts import PartConfig

_MAX_SIDECAR_BYTES = 1 << 20


class Part:
    """Reads a folder of clips and the texts beside them."""

    class Config(PartConfig):
        """Options.

        Attributes:
            caption_prompt: What the user says where the text is a caption.
            allow_unlabelled: Give clips without a text as samples without turns, rather than refuse them.
            recursive: Look into the folders inside as well.
        """

        caption_prompt: str = CAPTION_PROMPT
        allow_unlabelled: bool = False
        recursive: bool = False

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    @staticmethod
    def recognises(path: Path, keys: frozenset[str]) -> bool:
        """Whether `path` is a folder."""
        return path.is_dir()

    def read(self, path: Path) -> Iterator[Sample]:
        """Yield a sample per clip; texts are read lazily, but all clips without one are named first.

        Raises:
            FormatError: If there is no clip, if clips lack a text, if a text belongs to two clips or a clip
                has two texts, or if a text is unsound.
        """
        clips = self._clips(path)
        self._refuse_shared_names(clips)
        sidecars = {clip: _sidecar(clip) for clip in clips}
        bare = [clip for clip, sidecar in sidecars.items() if sidecar is None]
        if bare and not self.cfg.allow_unlabelled:
            raise _unlabelled(path, bare, len(clips))
        for clip, sidecar in sidecars.items():
            name = clip.relative_to(path).as_posix()
            if sidecar is None:
                yield Sample(name, (Clip(name, clip),), (), source=str(clip))
            else:
                row = _label(sidecar)
                yield labelled(row, name, (Clip(name, clip),), self.cfg.caption_prompt)

    def _clips(self, folder: Path) -> list[Path]:
        if not folder.is_dir():
            raise FormatError(folder, "there is no such folder", "check the path")
        found = folder.rglob("*") if self.cfg.recursive else folder.iterdir()
        suffixes = VIDEO_SUFFIXES | STILL_SUFFIXES
        clips = [
            path
            for path in found
            if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
        ]
        if not clips:
            remedy = "" if self.cfg.recursive else "set recursive if they lie in folders inside"
            raise FormatError(folder, "the folder holds no clips", remedy)
        return sorted(clips, key=lambda path: _natural(path.relative_to(folder).as_posix()))

    @staticmethod
    def _refuse_shared_names(clips: list[Path]) -> None:
        by_stem: dict[Path, Path] = {}
        for clip in clips:
            other = by_stem.setdefault(clip.with_suffix(""), clip)
            if other != clip:
                raise FormatError(clip, f"a text beside it would also be that of {other.name}", "rename one")


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key in which numbers count as numbers; the name itself decides between `1` and `01`."""
    pieces = re.split(r"([0-9]+)", name.lower())
    return [(int(piece), "") if i % 2 else (0, piece) for i, piece in enumerate(pieces)], name


def _sidecar(clip: Path) -> Path | None:
    found = [path for path in (clip.with_suffix(".txt"), clip.with_suffix(".json")) if path.is_file()]
    if len(found) > 1:
        raise FormatError(clip, f"it has two texts, {found[0].name} and {found[1].name}", "keep one of them")
    return found[0] if found else None


def _label(sidecar: Path) -> Row:
    where = f"{sidecar}:1"
    if sidecar.suffix == ".json":
        row = Row({}, where, "").inner(json_document(sidecar, _MAX_SIDECAR_BYTES), "the label")
        row.only(LABEL_KEYS)
        return row
    return Row({"caption": read_utf8(sidecar, _MAX_SIDECAR_BYTES).strip()}, where, "")


def _unlabelled(folder: Path, bare: list[Path], total: int) -> FormatError:
    lines = [f"  {path.relative_to(folder)}" for path in bare[:MOST_LISTED]]
    if len(bare) > MOST_LISTED:
        lines.append(f"  ... and {len(bare) - MOST_LISTED} more")
    return FormatError(
        folder,
        f"{len(bare)} of {total} clips have no text beside them:\n" + "\n".join(lines),
        f"write {bare[0].stem}.txt (a caption) or {bare[0].stem}.json, or set allow_unlabelled",
    )


def tiny() -> Part:
    """The format with its defaults."""
    return Part(Part.Config())


def tiny_data(folder: Path) -> Path:
    """Write one captioned clip into a new folder inside `folder`; return that."""
    clips = folder / "clips"
    clips.mkdir()
    (clips / "still.gif").write_bytes(TINY_STILL)
    (clips / "still.txt").write_text("a black dot.\n")
    return clips
