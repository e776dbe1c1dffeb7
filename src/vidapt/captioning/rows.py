"""Rows of captions as JSON lines or Parquet, the same in both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vidapt.captioning.places import is_address
from vidapt.errors import ConfigError, FormatError
from vidapt.files import check_file, write_file

SUFFIXES = (".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One clip's caption and what made it.

    Attributes:
        key: Unique: hash of the clip's name, its content and `settings`.
        clip: Path below the captioned folder; of a stretch of a film, with its seconds: `name.mp4@60-122`.
        caption: What the model wrote.
        model: The model's name.
        model_hash: Hash of its blueprint, tokenizer and weights.
        recipe_hash: Hash of the recipe it was trained by, where its card tells.
        prompt: What it was asked.
        settings: Hash of everything but the clip that the caption depends on.
        frames: Moments of the frames it saw, in seconds from the first frame of the file.
        visual_tokens: Length of the clip as the language model reads it.
        text_tokens: Length of the prompt's text.
        new_tokens: Length of the caption.
        finish: `end` if the model ended the caption, `length` if the limit did.
        seconds: The clip's share of the time its batch took, waiting for frames included.
        notes: What decoding had to say, such as that the file is truncated.
        created: When, in UTC.
        version: Of vidapt.
        folder: Where the clip's name begins: the captioned folder, by its whole path. It tells a clip that
            was changed from another folder's clip of the same name. Empty in rows of earlier versions.
        start_s: Where the stretch that was captioned begins, in seconds from the first frame of the file;
            None where all of it was.
        end_s: Where it ends.
        captions: Where several are asked for, all of them; `caption` is the first, `new_tokens` those of all
            together, and `finish` is `length` if the limit ended one. Empty otherwise, and left out.
        prompts: What each of them was asked.
        cues: The caption of another clip that stood before each as an example of style; empty without.
        file: Where the clip lies, if it is a file of this machine; empty in rows of earlier versions.
    """

    key: str
    clip: str
    caption: str
    model: str
    model_hash: str
    recipe_hash: str | None
    prompt: str
    settings: str
    frames: tuple[float, ...]
    visual_tokens: int
    text_tokens: int
    new_tokens: int
    finish: str
    seconds: float
    notes: tuple[str, ...]
    created: str
    version: str
    folder: str = ""
    start_s: float | None = None
    end_s: float | None = None
    captions: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    cues: tuple[str, ...] = ()
    file: str = ""

    @property
    def film(self) -> str:
        """Name of the file, whichever stretch of it this is."""
        return self.clip if self.start_s is None else self.clip.rpartition("@")[0]

    def footage(self, beside: Path = Path()) -> Path:
        """The clip's file, of whichever stretch; where a row does not say, below its folder.

        Args:
            beside: Where names of clips begin in rows that do not say so either.
        """
        return Path(self.file) if self.file else Path(self.folder or beside) / self.film

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        told = asdict(self) | {"frames": list(self.frames), "notes": list(self.notes)}
        if not self.file:
            del told["file"]
        for name in _LISTS:
            told[name] = list(told[name])
            if not told[name]:
                del told[name]
        return told

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> CaptionRow:
        """Read what `to_dict` gave.

        Raises:
            TypeError: If columns are missing or unknown, or a list is none.
        """
        given = {**row}
        lists = {name: tuple(given.get(name) or ()) for name in ("frames", "notes", *_LISTS)}
        return cls(**{**given, **lists})


_LISTS = ("captions", "prompts", "cues")
"""Columns of jobs that ask for several captions."""

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("clip", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_hash", pa.string(), nullable=False),
        pa.field("recipe_hash", pa.string()),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("settings", pa.string(), nullable=False),
        pa.field("frames", pa.list_(pa.float64()), nullable=False),
        pa.field("visual_tokens", pa.int64(), nullable=False),
        pa.field("text_tokens", pa.int64(), nullable=False),
        pa.field("new_tokens", pa.int64(), nullable=False),
        pa.field("finish", pa.string(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("notes", pa.list_(pa.string()), nullable=False),
        pa.field("created", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("folder", pa.string(), nullable=False),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
    ]
)


def write_rows(path: Path, rows: Sequence[CaptionRow]) -> None:
    """Write all rows in one step, as `path`'s suffix says."""
    dicts = [row.to_dict() for row in rows]
    if path.suffix == ".parquet":
        held = [name for name in _LISTS if any(name in row for row in dicts)]
        schema = pa.schema([*SCHEMA, *(pa.field(name, pa.list_(pa.string())) for name in held)])
        table = pa.Table.from_pylist(dicts, schema=schema)
        write_file(path, lambda temporary: pq.write_table(table, temporary))
    else:
        write_lines(path, dicts)


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines in one step, one row after the other."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    write_file(path, write)


def read_rows(path: Path) -> list[CaptionRow]:
    """Read what `write_rows` wrote, or what is captioned of a store's file.

    Raises:
        FormatError: If the file cannot be read or holds anything else.
    """
    try:
        if path.suffix == ".parquet":
            return [CaptionRow.from_dict(row) for row in _captioned(pq.read_table(path).to_pylist())]
        with path.open(encoding="utf-8") as file:
            return [CaptionRow.from_dict(row) for row in _captioned(json.loads(line) for line in file)]
    except OSError as error:
        raise FormatError(
            path, f"cannot be read ({error.strerror or error})", "write to another file"
        ) from error
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise FormatError(
            path, f"holds something other than captions ({error})", "write to another file, or overwrite it"
        ) from error


def _captioned(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows as they are; those of a store if they are captioned, without what a caption's row has not."""
    for row in rows:
        if "status" not in row:
            yield row
        elif row["status"] == "done":
            found = {name: row[name] for name in CaptionRow.__dataclass_fields__ if name in row}
            alone = row.get("offset") is None and not is_address(row.get("file"))
            yield found if alone else found | {"file": ""}


def check_target(path: Path, *beside: Path) -> None:
    """Refuse a file that is neither JSON lines nor Parquet, or that cannot be written.

    Args:
        path: Where rows are to go.
        beside: Further files that will be written.

    Raises:
        ConfigError: If `path` ends in something else, or one of the names is not that of a regular file.
        VidaptError: If nothing can be written there.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            path, f"cannot write {path.suffix or 'a file without suffix'}", f"use {' or '.join(SUFFIXES)}"
        )
    for file in (path, *beside):
        check_file(file)
