"""A folder of clips with a text beside each.

Beside `clip.mp4` lies `clip.txt` with its caption, or `clip.json` with `caption`, or `question` and `answer`
(or any other label of a `vidapt_jsonl` row). Clips come in natural order: `2.mp4` before `10.mp4`.

A text beside no clip is refused, as a clip that is missing or misnamed would lose its label unseen. Every
`.txt` counts as one, and every `.json` whose keys are those of a label. Left alone are other JSON, which
belongs to other programs, and texts whose names begin with a word such as `readme` or `license`.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from vidapt.errors import FormatError, readable
from vidapt.files import exists
from vidapt.formats._base import CAPTION_PROMPT, LABEL_KEYS, labelled
from vidapt.formats._media import MOST_LISTED, TINY_STILL
from vidapt.formats._row import Row
from vidapt.formats._scan import json_document, read_utf8
from vidapt.formats._shards import natural
from vidapt.nouns import Clip, Sample
from vidapt.parts import PartConfig
from vidapt.video.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES

MOST_STRAYS = 10
"""Texts without a clip named in one error; their total is always given."""

_MAX_SIDECAR_BYTES = 1 << 20
_SMALLER = "the text beside a clip is its caption or one label; give many labels as JSON lines in one file"
_TEXTS = (".txt", ".json")
_ABOUT_FOLDER = frozenset(
    {"attribution", "authors", "changelog", "citation", "copying", "copyright", "credits", "licence"}
    | {"license", "licenses", "notice", "readme"}
)


class Part:
    """Reads a folder of clips and the texts beside them."""

    class Config(PartConfig):
        """Options.

        Attributes:
            caption_prompt: What the user says where the text is a caption.
            allow_unlabelled: Give clips without a text as samples without turns, rather than refuse them.
            allow_stray_texts: Leave texts beside no clip alone, rather than refuse them.
            recursive: Look into the folders inside as well.
        """

        caption_prompt: str = CAPTION_PROMPT
        allow_unlabelled: bool = False
        allow_stray_texts: bool = False
        recursive: bool = False

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    @staticmethod
    def recognises(path: Path, keys: frozenset[str]) -> bool:
        """Whether `path` is a folder."""
        return path.is_dir()

    def read(self, path: Path) -> Iterator[Sample]:
        """Yield a sample per clip; texts are read lazily, but what stands alone is named first.

        Raises:
            FormatError: If there is no clip, if clips lack a text or texts a clip, if a text belongs to two
                clips or a clip has two texts, or if a text is unsound.
        """
        files = self._files(path)
        clips = self._clips(path, files)
        self._refuse_shared_names(clips)
        texts: dict[str, list[Path]] = {}
        for file in files:
            if file.suffix in _TEXTS:
                texts.setdefault(_stem(file), []).append(file)
        sidecars = {clip: _sidecar(clip, texts.get(_stem(clip), [])) for clip in clips}
        self._refuse_unpaired(path, files, sidecars)
        for clip, sidecar in sidecars.items():
            name = clip.relative_to(path).as_posix()
            if sidecar is None:
                yield Sample(name, (Clip(name, clip),), (), source=str(clip))
            else:
                row = _label(sidecar)
                yield labelled(row, name, (Clip(name, clip),), self.cfg.caption_prompt)

    def _files(self, folder: Path) -> list[Path]:
        """Files of a folder that may be clips or texts, in natural order."""
        if not exists(folder) or not folder.is_dir():
            raise FormatError(folder, "there is no such folder", "check the path")
        suffixes = VIDEO_SUFFIXES | PICTURE_SUFFIXES | {*_TEXTS}
        try:
            os.stat(f"{folder}/.")  # noqa: PTH116 - names may be listed of a folder that may not be entered
            found = [
                path
                for path in (folder.rglob("*") if self.cfg.recursive else folder.iterdir())
                if path.suffix.lower() in suffixes
                and not _is_hidden(path.relative_to(folder))
                and _is_file(path)
            ]
        except OSError as error:
            raise FormatError(folder, f"cannot be read: {error.strerror or error}") from error
        return sorted(found, key=lambda path: natural(path.relative_to(folder).as_posix()))

    def _clips(self, folder: Path, files: list[Path]) -> list[Path]:
        clips = [path for path in files if path.suffix.lower() not in _TEXTS]
        if not clips:
            remedy = "" if self.cfg.recursive else "set recursive if they lie in folders inside"
            raise FormatError(folder, "the folder holds no clips", remedy)
        return clips

    @staticmethod
    def _refuse_shared_names(clips: list[Path]) -> None:
        by_stem: dict[Path, Path] = {}
        for clip in clips:
            other = by_stem.setdefault(clip.with_suffix(""), clip)
            if other != clip:
                raise FormatError(clip, f"a text beside it would also be that of {other.name}", "rename one")

    def _refuse_unpaired(self, folder: Path, files: list[Path], sidecars: dict[Path, Path | None]) -> None:
        """Name all clips without a text and all texts without a clip, unless they are allowed."""
        found, remedies = [], []
        bare = [clip for clip, sidecar in sidecars.items() if sidecar is None]
        if bare and not self.cfg.allow_unlabelled:
            listed = _listed(folder, bare, MOST_LISTED)
            found.append(f"{len(bare)} of {len(sidecars)} clips have no text beside them:\n{listed}")
            remedies.append(
                f"write {bare[0].stem}.txt (a caption) or {bare[0].stem}.json, or set allow_unlabelled"
            )
        strays = [] if self.cfg.allow_stray_texts else _strays(files, sidecars)
        if strays:
            listed = _listed(folder, strays, MOST_STRAYS)
            found.append(f"{len(strays)} texts have no clip beside them:\n{listed}")
            remedies.append(
                "give a clip and its text the same name, move texts that are no labels elsewhere, "
                "or set allow_stray_texts"
            )
        if found:
            raise FormatError(folder, "\n".join(found), "; ".join(remedies))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_file(path: Path) -> bool:
    """Whether a name is that of a file; of what may not be looked at, whoever uses it says so."""
    try:
        return path.is_file()
    except OSError:
        return True


def _stem(path: Path) -> str:
    """A path without its suffix; accents are composed, which macOS writes apart."""
    return unicodedata.normalize("NFC", str(path.with_suffix("")))


def _sidecar(clip: Path, found: list[Path]) -> Path | None:
    if len(found) > 1:
        one, other, *_ = sorted(found, key=lambda path: _TEXTS.index(path.suffix))
        raise FormatError(clip, f"it has two texts, {one.name} and {other.name}", "keep one of them")
    return found[0] if found else None


def _label(sidecar: Path) -> Row:
    where = f"{sidecar}:1"
    if sidecar.suffix == ".json":
        row = Row({}, where, "").inner(json_document(sidecar, _MAX_SIDECAR_BYTES, _SMALLER), "the label")
        row.only(LABEL_KEYS)
        return row
    return Row({"caption": read_utf8(sidecar, _MAX_SIDECAR_BYTES, _SMALLER).strip()}, where, "")


def _strays(files: Iterable[Path], clips: Iterable[Path]) -> list[Path]:
    """Texts beside no clip."""
    stems = set(map(_stem, clips))
    return [path for path in files if _stem(path) not in stems and _is_label(path)]


def _is_label(path: Path) -> bool:
    """Whether a text is one that should stand beside a clip."""
    if path.suffix.lower() == ".txt":
        return re.split(r"[^a-z]", path.stem.lower())[0] not in _ABOUT_FOLDER
    try:
        value = json_document(path, _MAX_SIDECAR_BYTES, "")
    except FormatError:
        return False
    return isinstance(value, dict) and bool(value) and value.keys() <= LABEL_KEYS


def _listed(folder: Path, paths: list[Path], most: int) -> str:
    lines = [f"  {readable(str(path.relative_to(folder)))}" for path in paths[:most]]
    if len(paths) > most:
        lines.append(f"  ... and {len(paths) - most} more")
    return "\n".join(lines)


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
