"""WebDataset shards: tar files in which `key.mp4` stands beside `key.json` or `key.txt`.

What stands before the first dot of a member's name is its key. `key.txt` (or `.caption`) is a caption;
`key.json` holds `caption`, `question` and `answer` or any other label of a `vidapt_jsonl` row, or LLaVA's
`conversations`; further keys, such as a crawler's notes, are left alone. Clips are unpacked one by one when a
sample is asked for, into a hidden folder beside the shard, and stay there.

Source: the WebDataset library's documentation of its format (Aizman et al. 2020, arXiv 2001.01858).
"""

from __future__ import annotations

import io
import itertools
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from vidapt.errors import FormatError
from vidapt.files import write_file
from vidapt.formats._base import CAPTION_PROMPT, LABEL_KEYS, distinct, labelled
from vidapt.formats._home import home_of
from vidapt.formats._media import TINY_STILL
from vidapt.formats._row import Row
from vidapt.formats._scan import MAX_ROW_BYTES, line_value
from vidapt.formats.llava_json import sample_of
from vidapt.nouns import Clip, Sample
from vidapt.parts import PartConfig
from vidapt.video.identity import identity
from vidapt.video.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES

_TEXTS = (".txt", ".caption")
_BLOCK = 512

_Member = tuple[str, int, int]
"""Name in the shard, first byte of the content, and number of bytes."""


class Part:
    """Reads WebDataset shards."""

    always_indexed = True
    """Clips are unpacked as samples are made, so that nobody wants all of them at once."""

    class Config(PartConfig):
        """Options.

        Attributes:
            caption_prompt: What the user says where the label is a caption.
        """

        caption_prompt: str = CAPTION_PROMPT

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    @staticmethod
    def recognises(path: Path, keys: frozenset[str]) -> bool:
        """Whether `path` is a tar file, by its name."""
        return path.suffix.lower() == ".tar"

    def read(self, path: Path) -> Iterator[Sample]:
        """Yield the samples of a shard, lazily, each with its clips unpacked.

        Raises:
            FormatError: If the shard is cut off or no tar file, or if a label is unsound.
        """
        make = self.reader(path)
        found = (make(Row(values, f"{path}:{at}", values["key"])) for at, values in self.rows(path))
        yield from distinct(found)

    def rows(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield `(offset, {"key", "label", "media"})` of every key that has a label.

        Raises:
            FormatError: If the shard is cut off or no tar file, or a key has no label.
        """
        for key, group in itertools.groupby(members(path), key=lambda member: _key(member[0])):
            beside = list(group)
            texts = [one for one in beside if _ending(one[0]) in (".json", *_TEXTS)]
            media = [one for one in beside if _ending(one[0]) in VIDEO_SUFFIXES | PICTURE_SUFFIXES]
            where = f"{path}:{beside[0][1]}"
            if not texts:
                raise FormatError(where, f"{key!r} has no label", f"add {key}.json or {key}.txt to the shard")
            if large := next((one for one in texts if one[2] > MAX_ROW_BYTES), None):
                raise FormatError(where, f"{large[0]!r} has {large[2]:,} bytes", "a label is one row of text")
            yield texts[0][1], {"key": key, "labels": texts, "media": media}

    def reader(self, path: Path, *, look: bool = True) -> Callable[[Row], Sample]:
        """Return what makes samples of `rows`; clips are unpacked only where one is to `look`."""
        shard = _Shard(path, unpack=look)
        return lambda row: _sample(row, shard, self.cfg.caption_prompt)


def members(path: Path) -> Iterator[_Member]:
    """Yield `(name, first byte, bytes)` of every file in a shard, in their order; nothing is unpacked.

    Raises:
        FormatError: If the shard is missing, cut off or no tar file.
    """
    try:
        with path.open("rb") as file:
            yield from members_of(file, path)
    except FileNotFoundError:
        raise FormatError(path, "there is no such file", "check the path of the shard") from None
    except OSError as error:
        raise _unreadable(path, error) from error


def members_of(file: BinaryIO, where: Path | str) -> Iterator[_Member]:
    """The same of a shard that is open.

    Args:
        file: Can be read from any place.
        where: What it is called.

    Raises:
        FormatError: If it is cut off or no tar file.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                vars(tar)["members"] = []  # the library remembers them all
                if member.isfile():
                    yield member.name, member.offset_data, member.size
            _refuse_cut(file, where, tar.offset)
    except tarfile.TarError as error:
        raise _unreadable(where, error) from error


def _unreadable(where: Path | str, error: Exception) -> FormatError:
    return FormatError(where, f"cannot be read as a shard: {error}", "it may be cut off; copy it again")


def _refuse_cut(file: BinaryIO, where: Path | str, end: int) -> None:
    """A tar file ends with blocks of zeros; the library takes any end for one."""
    file.seek(end)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise FormatError(f"{where}:{end}", f"the shard is cut off at byte {end:,}", "copy it again")


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent / path.name.partition(".")[0])


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


class _Shard:
    """A tar file whose members are read by their places."""

    def __init__(self, path: Path, *, unpack: bool) -> None:
        self._path, self._unpack = path, unpack
        self._folder: Path | None = None

    def text(self, member: _Member) -> bytes:
        with self._path.open("rb") as file:
            file.seek(member[1])
            return file.read(member[2])

    def clip(self, member: _Member) -> Clip:
        name = member[0]
        if not self._unpack:
            return Clip(name, self._path / name)
        if self._folder is None:
            self._folder = home_of(self._path) / f"{self._path.name}-{identity(self._path)[:12]}"
        # Names come from strangers: none may lead out of the folder.
        steps = [step for step in PurePosixPath(name).parts if step not in ("/", "..")]
        target = self._folder.joinpath(*steps)
        if not target.is_file() or target.stat().st_size != member[2]:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, lambda part: self._copy(member, part))
        return Clip(name, target)

    def _copy(self, member: _Member, target: Path) -> None:
        with self._path.open("rb") as shard, target.open("wb") as file:
            shard.seek(member[1])
            left = member[2]
            while left and (piece := shard.read(min(left, io.DEFAULT_BUFFER_SIZE * 64))):
                file.write(piece)
                left -= len(piece)
        if left:
            shutil.rmtree(target, ignore_errors=True)
            raise FormatError(
                f"{self._path}:{member[1]}", f"{member[0]!r} is cut off", "copy the shard again"
            )


class _Unpacked:
    """What `MediaFinder` is to label files, of clips that are known already."""

    def __init__(self, clips: dict[str, Clip]) -> None:
        self._clips = clips

    def clip(self, given: str, row: Row) -> Clip:
        del row
        return self._clips[given]


def _sample(row: Row, shard: _Shard, caption_prompt: str) -> Sample:
    media = tuple(shard.clip(tuple(one)) for one in row.values["media"])
    label = _label(row, shard)
    name = str(row.values["key"])
    if "conversations" not in label.values:
        return labelled(label, name, media, caption_prompt)
    stills = [clip.id for clip in media if _ending(clip.id) in PICTURE_SUFFIXES]
    films = [clip.id for clip in media if clip.id not in stills]
    values = {**label.values, "id": name, "image": stills, "video": films}
    return sample_of(Row(values, row.where, name), _Unpacked({clip.id: clip for clip in media}))


def _label(row: Row, shard: _Shard) -> Row:
    """The first of a key's texts that holds a label."""
    for member in row.values["labels"]:
        text = shard.text(tuple(member))
        if _ending(member[0]) in _TEXTS:
            caption = text.decode("utf-8", "replace").strip()
            return Row({"caption": caption}, row.where, row.name)
        found = row.inner(line_value(b" ".join(text.splitlines()), Path(row.where), 0), "the label").values
        kept = {key: value for key, value in found.items() if key in LABEL_KEYS | {"conversations"}}
        if kept.keys() & {"question", "caption", "turns", "conversations"}:
            return Row(kept, row.where, row.name)
    raise row.error("has no label", "give `caption`, or `question` and `answer`, in its JSON")


def tiny() -> Part:
    """The format with its defaults."""
    return Part(Part.Config())


def tiny_data(folder: Path) -> Path:
    """Write the smallest shard into `folder`; return it."""
    path = folder / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (("0.gif", TINY_STILL), ("0.txt", b"a black dot.\n")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
