"""Which clips have labels already: rows of before, the journal, and putting both in place."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vidapt.appended import Appended
from vidapt.captioning.found import order
from vidapt.errors import ConfigError, FormatError
from vidapt.files import write_file
from vidapt.formats import vidapt_jsonl
from vidapt.teaching.rows import Broken, LabelRow, read_rows


@dataclass(frozen=True, slots=True)
class Places:
    """Files of a job.

    Attributes:
        labels: Rows to learn from.
        provenance: A row per clip that tells where its labels come from.
        quarantine: Clips without labels, with reasons; not there if there are none.
        partial: The journal of an unfinished job.
        replies: Answers that were paid for.
    """

    labels: Path
    provenance: Path
    quarantine: Path
    partial: Path
    replies: Path

    @classmethod
    def of(cls, out: Path, replies: Path | None = None) -> Places:
        """Beside the file with the labels.

        Raises:
            ConfigError: If it is no name of JSON lines.
        """
        if out.suffix != ".jsonl":
            raise ConfigError(out, f"cannot write {out.suffix or 'a file without suffix'}", "use .jsonl")
        beside = [
            out.with_name(f"{out.name}.{what}.jsonl")
            for what in ("provenance", "quarantine", "partial", "replies")
        ]
        provenance, quarantine, partial, kept = beside
        return cls(out, provenance, quarantine, partial, replies or kept)

    @property
    def cuts(self) -> Path:
        """Where films are cut, which is looked for once."""
        return self.labels.with_name(f"{self.labels.name}.cuts.jsonl")

    def broken(self, settings: str, labelled: Collection[str]) -> dict[str, Broken]:
        """Clips without labels, by name, as the last job left them."""
        if not self.quarantine.exists():
            return {}
        found = {}
        for line in self.quarantine.read_text(encoding="utf-8").split("\n"):
            with suppress(
                ValueError, TypeError, KeyError, AttributeError
            ):  # somebody else's lines are nobody's
                row = dict(json.loads(line))
                name, reason = str(row.pop("clip")), str(row.pop("reason"))
                if name not in labelled:
                    found[name] = Broken("", name, reason, settings, row)
        return found


@dataclass(frozen=True, slots=True)
class Head:
    """What is kept in memory of a row.

    Attributes:
        key: As the row has it.
        clip: Likewise.
        folder: Likewise.
        settings: Likewise.
        labels: How many it has.
        again: How often it was asked for again before.
        read: Gives all of it, as JSON holds it.
    """

    key: str
    clip: str
    folder: str
    settings: str
    labels: int
    again: int
    read: Callable[[], dict[str, Any]]

    @classmethod
    def of(cls, row: LabelRow, read: Callable[[], dict[str, Any]]) -> Head:
        """Of a row."""
        return cls(row.key, row.clip, row.folder, row.settings, len(row.labels), row.again, read)


class Book(Appended):
    """The journal of a job: a line for every clip that is done or broken.

    Args:
        path: Made if missing.

    Raises:
        TakenError: If another process has it open.
        VidaptError: If nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.rows: dict[str, Head] = {}
        self.broken: dict[str, Broken] = {}
        for place, line in self.lines():
            self._take(line, place)

    def __enter__(self) -> Book:
        return self

    @property
    def settings(self) -> set[str]:
        """Those of all jobs that something is here of."""
        of_rows = {one.settings for one in self.rows.values()}
        return of_rows | {one.settings for one in self.broken.values()}

    def add(self, entry: LabelRow | Broken) -> None:
        """Add one line; it survives the death of this process."""
        line = {"row": entry.to_dict()} if isinstance(entry, LabelRow) else {"broken": asdict(entry)}
        self._take(line, self.write(line))

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self.rows, self.broken = {}, {}

    def _take(self, line: Any, place: tuple[int, int]) -> None:
        try:
            if "row" in line:
                head = Head.of(LabelRow(**line["row"]), partial(self._row_at, place))
                self.rows[head.key] = head
                self.broken.pop(head.key, None)  # it was given another chance
            else:
                broken = Broken(**line["broken"])
                self.broken[broken.key] = broken
        except (TypeError, KeyError):
            return  # damaged by a loss of power; its clip is labelled again, from the replies

    def _row_at(self, place: tuple[int, int]) -> dict[str, Any]:
        row: dict[str, Any] = self.at(place)["row"]
        return row


def old_rows(places: Places, settings: str) -> list[Head]:
    """The rows of a finished job of the same kind.

    Raises:
        ConfigError: If they are of another kind, or the labels are nobody knows whose.
        FormatError: If the file holds anything else.
    """
    if not places.provenance.exists():
        if places.labels.exists():
            raise ConfigError(
                places.labels,
                "has labels of which nothing says who made them",
                "write to another file, or overwrite",
            )
        return []
    rows, start = [], 0
    try:
        with places.provenance.open("rb") as file:
            for line in file:
                read = partial(_line_at, places.provenance, start, len(line))
                rows.append(Head.of(LabelRow(**json.loads(line)), read))
                start += len(line)
    except (ValueError, TypeError) as error:
        raise FormatError(
            places.provenance, f"holds something other than rows of labels ({error})", "overwrite"
        ) from None
    if any(row.settings != settings for row in rows):
        raise ConfigError(
            places.labels,
            "holds labels of another recipe: another teacher, mode, prompt, number of frames or samples",
            "write to another file, or overwrite; answers that were paid for are used again either way",
        )
    return rows


def _line_at(path: Path, start: int, size: int) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek(start)
        row: dict[str, Any] = json.loads(file.read(size))
    return row


def refuse_namesakes(out: Path, rows: Iterable[Head], keys: Mapping[str, str], folder: str) -> None:
    """Refuse to drop labels of another folder's clips for clips of the same names and other content.

    Raises:
        ConfigError: If there are such rows.
    """
    for row in rows:
        if row.folder != folder and keys.get(row.clip, row.key) != row.key:
            raise ConfigError(
                out,
                f"has labels of {row.clip} in {row.folder}, and another clip in {folder} has that name too",
                "write to another file, label the folder above both at once, or overwrite",
            )


def merged(rows: Iterable[Head], keys: Mapping[str, str]) -> list[Head]:
    """One row per clip in natural order, none whose clip has changed since."""
    current = {row.clip: row for row in rows if keys.get(row.clip, row.key) == row.key}
    return sorted(current.values(), key=lambda row: order(row.clip))


def commit(places: Places, rows: list[Head], broken: Mapping[str, Broken]) -> None:
    """Put everything in place, the labels last."""
    write_lines(places.provenance, (row.read() for row in rows))
    if broken:
        named = sorted(broken.values(), key=lambda one: order(one.clip))
        told = ({"clip": one.clip, "reason": one.reason, **one.usage} for one in named)
        write_lines(places.quarantine, told)
    else:
        places.quarantine.unlink(missing_ok=True)
    folder = places.labels.parent
    made = (sample for row in read_rows(places.provenance) for sample in row.samples(folder))
    vidapt_jsonl.write(places.labels, made)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines in one step, one after the other."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    write_file(path, write)
