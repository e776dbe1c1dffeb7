"""Frozen versions of a data set: labels and the content of their media under one hash.

A version is a folder: `labels.jsonl`, in vidapt's own rows; `media.jsonl`, what every file was when it was
frozen; `left_out.jsonl`, rows that could not be; and the card `version.json`. Its hash is the SHA-256 of all
rows in their order, each with its files by their content (`video.identity`) and not by their place: labels
that say the same of the same footage have the same hash wherever they lie.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError, FormatError
from vidapt.files import check_folder, exists, write_folder, write_json
from vidapt.formats import frozen
from vidapt.formats._frozen import CARD, LABELS
from vidapt.formats.vidapt_jsonl import plain_row, refuse_unwritable, write
from vidapt.nouns import Sample
from vidapt.progress import Reporter, silent
from vidapt.version import VERSION
from vidapt.video.identity import identity

MEDIA, LEFT_OUT = "media.jsonl", "left_out.jsonl"
_TOLD_EVERY = 200


@dataclass(frozen=True)
class Version:
    """The card of a version.

    Attributes:
        version: `sha256:` and the content hash; a recipe's source may state it.
        rows: Labels.
        media: Files that they name.
        bytes: Of all these.
        left_out: Rows that could not be frozen, such as those of missing files.
        parents: What it was made of: paths, and versions where these are frozen themselves.
        counts: What became of the parents' rows.
        created: When, in UTC.
        vidapt: Which version of vidapt.
    """

    version: str
    rows: int
    media: int
    bytes: int
    left_out: int = 0
    parents: tuple[Mapping[str, Any], ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    created: str = ""
    vidapt: str = VERSION

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class _File:
    """What a file was: its size, when it was changed, and what tells its content."""

    path: str
    bytes: int
    time: int
    content: str

    @classmethod
    def of(cls, path: Path) -> _File:
        status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns, identity(path))

    def now(self) -> str:
        """Its content by now; a file of the same size that was not changed since is not read again."""
        path = Path(self.path)
        status = path.stat()
        same = (status.st_size, status.st_mtime_ns) == (self.bytes, self.time) and not path.is_dir()
        return self.content if same else identity(path)


def freeze(
    samples: Iterable[Sample],
    out: Path,
    *,
    parents: Iterable[Mapping[str, Any]] = (),
    counts: Mapping[str, int] | None = None,
    report: Reporter = silent,
) -> Version:
    """Write labels as a version, which appears whole or not at all.

    Args:
        samples: Rows, each with an id of its own.
        out: The new folder. One that holds the same version is left as it is.
        parents: What the rows come from.
        counts: What became of the parents' rows.
        report: Shows progress.

    Raises:
        ConfigError: If something else is there already, or no row is left.
    """
    if exists(out) and not (out / CARD).is_file():
        raise ConfigError(out, "is there already, and is no version", "give a new folder")
    check_folder(out)
    kept, left, files = _looked_at(list(samples), report)
    if not kept:
        raise ConfigError(out, "no row is left to freeze", left[0]["reason"] if left else "give labels")
    contents = {path: one.content for path, one in files.items()}
    hashed = _hash((plain_row(sample, out.absolute()) for sample in kept), out, contents)
    if exists(out) and read_card(out).version != hashed:
        raise ConfigError(out, f"holds another version, {read_card(out).version}", "give a new folder")
    card = Version(
        version=hashed,
        rows=len(kept),
        media=len(files),
        bytes=sum(one.bytes for one in files.values()),
        left_out=len(left),
        parents=tuple(parents),
        counts=dict(counts or {}),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if exists(out):
        return read_card(out)
    with write_folder(out) as folder:
        write(folder / LABELS, kept)
        _lines(folder / MEDIA, (asdict(files[path]) for path in sorted(files)))
        _lines(folder / LEFT_OUT, left)
        write_json(folder / CARD, card.to_dict())
    return card


def _looked_at(
    rows: Sequence[Sample], report: Reporter
) -> tuple[list[Sample], list[dict[str, str]], dict[str, _File]]:
    """Rows that can be frozen; those that cannot, with their reasons; and the files of the former."""
    seen: dict[str, _File] = {}
    kept, left = [], []
    for number, sample in enumerate(rows, 1):
        if not number % _TOLD_EVERY or number == len(rows):
            report("freeze", number, len(rows))
        try:
            for path in _paths(sample):
                if path not in seen:
                    seen[path] = _File.of(Path(path))
            refuse_unwritable(sample)
            kept.append(sample)
        except OSError as error:
            left.append({"id": sample.id, "reason": f"a file cannot be read: {error}"})
        except FormatError as error:
            left.append({"id": sample.id, "reason": error.found})
    named = {path for sample in kept for path in _paths(sample)}
    return kept, left, {path: one for path, one in seen.items() if path in named}


def _paths(sample: Sample) -> list[str]:
    return [str(clip.path.absolute()) for clip in sample.media]


def read_card(folder: Path) -> Version:
    """The card of a version.

    Raises:
        ConfigError: If it is none.
    """
    try:
        plain = json.loads((folder / CARD).read_text(encoding="utf-8"))
        return Version(**{**plain, "parents": tuple(plain["parents"])})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(folder / CARD, f"is no card of a version ({error})", "freeze again") from None


def check_version(path: Path, stated: str | None = None) -> str | None:
    """See that labels are the version that they are said to be, with the media it was frozen with.

    Args:
        path: Labels, or the folder of a version.
        stated: The hash that they must have; None asks frozen versions alone to be as their cards say.

    Returns:
        The hash; None where labels are not frozen.

    Raises:
        ConfigError: If they are none, another one, or are not what was frozen.
    """
    labels = frozen(path)
    if labels is None:
        if stated is None:
            return None
        raise ConfigError(
            path, "is no frozen version, and one is stated", "`vidapt data freeze` makes one; name its folder"
        )
    card = read_card(labels.parent)
    if stated not in (None, card.version):
        raise ConfigError(
            path, f"is the version {card.version}, not {stated}", "name the folder of that one, or its hash"
        )
    found = _hash(_rows(labels), labels.parent, _contents(labels.parent))
    if found != card.version:
        told = f"is not what was frozen: its labels or media are {found} by now, its card says {card.version}"
        raise ConfigError(labels.parent, told, "put back what was changed, or freeze a new version")
    return found


def versions_of(paths: Iterable[Path]) -> dict[str, str]:
    """The hashes of those of some labels that are frozen, by their folders.

    Raises:
        ConfigError: If a card cannot be read.
    """
    folders = {labels.parent for path in paths if (labels := frozen(path)) is not None}
    return {str(folder): read_card(folder).version for folder in sorted(folders)}


def parent(path: Path) -> dict[str, Any]:
    """What a version says of labels or decisions that it was made of: the path, and what was in it."""
    labels = frozen(path)
    if labels is not None:
        return {"path": str(labels.parent.absolute()), "version": read_card(labels.parent).version}
    if not path.is_file():
        return {"path": str(path.absolute())}
    with path.open("rb") as file:
        return {"path": str(path.absolute()), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _hash(rows: Iterable[Mapping[str, Any]], folder: Path, contents: Mapping[str, str]) -> str:
    """The content hash of rows as `plain_row` gives them, whose files go by their content."""
    seen = hashlib.sha256()
    for row in rows:
        plain = dict(row)
        if "video" in plain:
            plain["video"] = _content(plain["video"], folder, contents)
        if "media" in plain:
            plain["media"] = [
                {**one, "path": _content(one["path"], folder, contents)} for one in plain["media"]
            ]
        seen.update(json.dumps(plain, sort_keys=True).encode() + b"\n")
    return f"sha256:{seen.hexdigest()}"


def _content(given: str, folder: Path, contents: Mapping[str, str]) -> str:
    return contents.get(os.path.join(folder.absolute(), given), "?")  # noqa: PTH118 - joined 100,000 times


def _rows(labels: Path) -> Iterator[dict[str, Any]]:
    try:
        with labels.open("rb") as file:
            yield from map(json.loads, file)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(labels, f"cannot be read ({error})", "freeze a new version") from None


def _contents(folder: Path) -> dict[str, str]:
    """What the media of a version are by now."""
    found: dict[str, str] = {}
    for row in _rows(folder / MEDIA):
        try:
            file = _File(**row)
            found[file.path] = file.now()
        except TypeError:
            raise ConfigError(folder / MEDIA, f"has a row that is no file: {row}", "freeze again") from None
        except OSError as error:
            told = f"is not there any more as it was frozen ({error.strerror or error})"
            raise ConfigError(file.path, told, "put it back, or freeze a new version") from None
    return found


def _lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
