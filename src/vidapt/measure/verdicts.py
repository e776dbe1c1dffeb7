"""Every verdict on disk: one line per question, added as clips are finished, so that a killed job goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from vidapt.errors import ConfigError, FormatError
from vidapt.files import disk_errors, write_text
from vidapt.metrics.claims import ClaimCounts
from vidapt.metrics.match import is_match
from vidapt.metrics.spans import RIGHT_AT, WHEN, Stretch, agreement, only_stretch
from vidapt.nouns import Clip

PREDICTIONS, QUARANTINE, METRICS = "predictions.jsonl", "quarantine.jsonl", "metrics.json"

MODEL, BLIND, MAJORITY = "model", "blind", "majority"
"""The model as it is, without the clip, and no model at all."""

OTHER_CLIP, SHUFFLED_FRAMES, ONE_FRAME = "other_clip", "shuffled_frames", "one_frame"
"""The model with another clip, with the clip's own frames in another order, and with one of them all "
"along."""

CONTROL_ARMS = (BLIND, OTHER_CLIP, SHUFFLED_FRAMES, ONE_FRAME)
"""Controls that ask the model itself."""

_BEFORE = {"shuffled": OTHER_CLIP}
"""Arms by the names that earlier versions wrote."""


def arm_words(arm: str) -> str:
    """What tables call an arm."""
    return {OTHER_CLIP: "another clip"}.get(arm, arm.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question, what every arm said, and whether that is right.

    Attributes:
        number: Place of the question in the data.
        sample: Id of the labelled sample.
        clip: What it is about.
        type: Question type.
        question: Without media marks.
        expected: The label's answer.
        accept: Every answer that counts as right.
        free: Whether the answer is a text of its own, judged by its claims or by its words.
        predictions: What each arm said.
        claims: What the text of each arm claims, where a log tells truth from invention; else empty.
        other_from: Id of the clip that the arm `other_clip` saw.
        sentences: The model's own text in sentences, each with what the log says of it (`judging.Mark`).
        stretch: When it was, for a question about time; seconds from the clip's beginning.
        source: What the clip was taken from; clips of one are resampled together. Empty for the clip itself.
    """

    number: int
    sample: str
    clip: Clip
    type: str
    question: str
    expected: str
    accept: tuple[str, ...]
    free: bool
    predictions: Mapping[str, str]
    claims: Mapping[str, ClaimCounts] = field(default_factory=dict)
    other_from: str | None = None
    sentences: tuple[tuple[str, str], ...] = ()
    stretch: Stretch | None = None
    source: str = ""

    @property
    def cluster(self) -> str:
        """What is resampled as one."""
        return self.source or self.clip.id

    def right(self, arm: str) -> bool | None:
        """Whether an arm's answer is accepted; None for a free text."""
        if self.stretch is not None:
            return agreement(self.predictions[arm], self.stretch) >= RIGHT_AT
        return None if self.free else is_match(self.predictions[arm], self.accept)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as a JSON object."""
        return {
            "number": self.number,
            "sample": self.sample,
            "clip": self.clip.id,
            "path": str(self.clip.path.absolute()),
            "start_s": self.clip.start_s,
            "end_s": self.clip.end_s,
            "fps": self.clip.rate,
            "type": self.type,
            "question": self.question,
            "expected": self.expected,
            "accept": list(self.accept),
            "free": self.free,
            "predictions": dict(self.predictions),
            "right": {arm: self.right(arm) for arm in self.predictions},
            "claims": {arm: asdict(counts) for arm, counts in self.claims.items()},
            "other_from": self.other_from,
            "sentences": [list(pair) for pair in self.sentences],
            "stretch": None if self.stretch is None else list(self.stretch),
            "source": self.source,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Verdict:
        """Read what `to_json` wrote, or an earlier version of it.

        That knew fewer keys, and called the arm with another clip `shuffled`. `right` is found anew.
        """
        return cls(
            number=int(row["number"]),
            sample=row["sample"],
            clip=Clip(row["clip"], Path(row["path"]), row["start_s"], row["end_s"], row.get("fps")),
            type=row["type"],
            question=row["question"],
            expected=row["expected"],
            accept=tuple(row["accept"]),
            free=bool(row["free"]),
            predictions={_BEFORE.get(arm, arm): text for arm, text in row["predictions"].items()},
            claims={_BEFORE.get(arm, arm): ClaimCounts(**counts) for arm, counts in row["claims"].items()},
            other_from=row.get("other_from", row.get("shuffled_from")),
            sentences=tuple((text, mark) for text, mark in row["sentences"]),
            stretch=_stretch(row),
            source=row.get("source", ""),
        )


def _stretch(row: Mapping[str, Any]) -> Stretch | None:
    if "stretch" not in row:
        return only_stretch(row["expected"]) if row["type"] == WHEN else None
    return None if row["stretch"] is None else (row["stretch"][0], row["stretch"][1])


@dataclass(frozen=True, slots=True)
class Header:
    """First line of the file: what the verdicts are about.

    Attributes:
        stamp: What decides every verdict, such as the fingerprints of the model and of the data. Verdicts of
            another stamp are not added to.
        about: What else is worth knowing: names, versions, when it began.
    """

    stamp: Mapping[str, Any]
    about: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Broken:
    """A clip that could not be used, and why."""

    clip: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What a folder holds.

    Attributes:
        header: What it is about.
        verdicts: In the order they were written.
        broken: Clips without verdicts.
    """

    header: Header
    verdicts: tuple[Verdict, ...]
    broken: tuple[Broken, ...]


def read_kept(out: Path) -> Kept | None:
    """Read the verdicts in a folder; None if there are none. A last line that was cut off is left out.

    Raises:
        FormatError: If another line cannot be read.
    """
    path = out / PREDICTIONS
    if not path.exists():
        return None
    rows = list(_rows(path))
    try:
        header = Header(**rows[0])
        verdicts = tuple(Verdict.from_json(row) for row in rows[1:])
        broken = tuple(Broken(**row) for row in _rows(out / QUARANTINE))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(
            path, f"holds no verdicts of an evaluation: {error!r}", "choose another folder"
        ) from error
    return Kept(header, verdicts, broken)


class Ledger:
    """The open files of an evaluation; made by `open_ledger`."""

    def __init__(self, predictions: TextIO, quarantine: TextIO) -> None:
        self._predictions, self._quarantine = predictions, quarantine

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Write verdicts down."""
        _append(self._predictions, (verdict.to_json() for verdict in verdicts))

    def set_aside(self, broken: Broken) -> None:
        """Write down a clip that cannot be used."""
        _append(self._quarantine, [asdict(broken)])


@contextmanager
def open_ledger(out: Path, kept: Kept) -> Iterator[Ledger]:
    """Begin the files with what is kept, then hold them open for more; anything else in them is dropped.

    Args:
        out: Folder of the evaluation; made if missing.
        kept: The header, and verdicts and broken clips of finished work.

    Raises:
        VidaptError: If the disk is full or may not be written.
    """
    write_text(out / QUARANTINE, _lines(asdict(clip) for clip in kept.broken))
    write_text(
        out / PREDICTIONS, _lines([asdict(kept.header), *(verdict.to_json() for verdict in kept.verdicts)])
    )
    with (
        disk_errors(out),
        (out / PREDICTIONS).open("a", encoding="utf-8") as predictions,
        (out / QUARANTINE).open("a", encoding="utf-8") as quarantine,
    ):
        yield Ledger(predictions, quarantine)


def check_stamp(out: Path, kept: Kept, header: Header) -> None:
    """Refuse to add to verdicts of something else.

    Raises:
        ConfigError: Naming what differs.
    """
    old, new = dict(kept.header.stamp), dict(header.stamp)
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if differing:
        raise ConfigError(
            out,
            f"holds verdicts of an evaluation that differs in: {', '.join(differing)}",
            "choose another folder, or delete this one",
        )


def _append(file: TextIO, rows: Iterable[Mapping[str, Any]]) -> None:
    file.write(_lines(rows))
    file.flush()
    os.fsync(file.fileno())


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _rows(path: Path) -> Iterator[Any]:
    if not path.exists():
        return
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise FormatError(
                f"{path}:{number}", f"is not JSON: {error}", "delete the folder to begin anew"
            ) from error
