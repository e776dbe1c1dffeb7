"""vidapt's own labels: one JSON object per line.

A row names its media by `video` (one path, with `start_s`, `end_s` and `fps` beside it where needed) or by
`media` (a list of `{"path", "start_s"?, "end_s"?, "fps"?, "id"?}`), and is labelled by `question` and
`answer`, by `caption`, or by `turns` (a list of `{"role", "text"}`); `answers`, a list, stands in place of
`answer`, or beside `turns`, where several are equally right. `start_s` and `end_s` are the stretch of
a file that the row is about; times in its texts count from `start_s`. `fps` is for folders of pictures.
`id`, `rejected`, `facts` and `claims` (what `vidapt evidence` says of single clauses) are optional. Paths are
relative to the label file's folder. Keys of no meaning are errors, as a misspelt one would lose labels
unseen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidapt.errors import FormatError
from vidapt.files import write_file
from vidapt.formats._base import CAPTION_PROMPT, LABEL_KEYS, FileConfig, labelled, read_samples
from vidapt.formats._media import TINY_STILL, MediaFinder, is_plain_path
from vidapt.formats._outline import Outline, about, medium_named
from vidapt.formats._row import Row
from vidapt.nouns import Clip, Sample

_STRETCH = {"start_s", "end_s", "fps"}
_RATES = 0.001, 1000.0
"""Slowest and fastest rate of a folder of pictures that is believed, as `--fps` has it."""
_KEYS = LABEL_KEYS | {"id", "video", "media"} | _STRETCH
_PLAIN = frozenset({"id", "video", "question", "answer", "start_s", "end_s", "facts"})
"""Keys of rows that an index takes in at a glance."""
_NUMBER = (int, float)
_NO_FACTS: Mapping[str, Any] = {}


class Part:
    """Reads vidapt's own labels."""

    unique_ids = True

    class Config(FileConfig):
        """Options.

        Attributes:
            caption_prompt: What the user says where a row is a caption.
        """

        caption_prompt: str = CAPTION_PROMPT

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    @staticmethod
    def recognises(path: Path, keys: frozenset[str]) -> bool:
        """Whether a file whose first row has these keys is in this format."""
        return bool(keys & {"video", "media"}) and bool(keys & {"question", "caption", "turns"})

    def read(self, path: Path) -> Iterator[Sample]:
        """Yield the samples of a label file, lazily.

        Raises:
            FormatError: If a row is unsound, an id is repeated, or, at the end, if media are missing.
        """
        made, lines = self.reader(path), dict[str, str]()

        def build(row: Row) -> Sample:
            sample = made(row)
            if sample.id in lines:
                raise row.error(f"the id {sample.id!r} is already that of {lines[sample.id]}")
            lines[sample.id] = row.where
            return sample

        yield from read_samples(path, self.cfg, build)

    def reader(self, path: Path, *, look: bool = True) -> Callable[[Row], Sample]:
        """Return what makes samples of single rows; `look` is that of `MediaFinder`."""
        finder = MediaFinder(path, self.cfg.media_root, look=look)
        return lambda row: _sample(row, finder, self.cfg.caption_prompt)

    @staticmethod
    def outline(values: Mapping[str, Any]) -> Outline | None:
        """A row in short, if it is a sound question about one video without marks; else None."""
        if not values.keys() <= _PLAIN:
            return None
        video, asked, said = values.get("video"), values.get("question"), values.get("answer")
        if not (isinstance(video, str) and isinstance(asked, str) and isinstance(said, str)):
            return None
        start_s, end_s, facts = (
            values.get("start_s", 0.0),
            values.get("end_s"),
            values.get("facts", _NO_FACTS),
        )
        kind = facts.get("type", "") if isinstance(facts, dict) else None
        times = isinstance(start_s, _NUMBER) and (end_s is None or isinstance(end_s, _NUMBER))
        plain = is_plain_path(video) and "<" not in asked and "<" not in said and isinstance(kind, str)
        if not (plain and times and asked.strip() and said.strip() and 0 <= start_s < (end_s or math.inf)):
            return None
        end = None if end_s is None else float(end_s)
        return Outline(
            about(video, start_s, end), "", "", 1, kind or "", len(asked) + len(said), medium_named(video)
        )


def _sample(row: Row, finder: MediaFinder, caption_prompt: str) -> Sample:
    row.only(_KEYS)
    if ("video" in row.values) == ("media" in row.values):
        raise row.error(
            "exactly one of 'video' and 'media' is needed", 'a row without a clip says "media": []'
        )
    if "video" in row.values:
        media: tuple[Clip, ...] = (stretch(row, row.text("video"), finder),)
    else:
        if stray := sorted(_STRETCH & row.values.keys()):
            raise row.error(f"{stray[0]!r} stands beside 'media'", "write it into the medium it is about")
        media = tuple(_clip(row.inner(entry, "a medium"), finder) for entry in row.listed("media"))
    return labelled(row, row.identity(), media, caption_prompt)


def _clip(row: Row, finder: MediaFinder) -> Clip:
    row.only({"path", "id"} | _STRETCH)
    clip = stretch(row, row.text("path"), finder)
    return replace(clip, id=row.text("id")) if "id" in row.values else clip


def stretch(row: Row, given: str, finder: MediaFinder) -> Clip:
    """The stretch of a file that a row is about.

    Raises:
        FormatError: If its times or its rate are none.
    """
    start_s, end_s, rate = row.seconds("start_s") or 0.0, row.seconds("end_s"), row.seconds("fps")
    if end_s is not None and end_s <= start_s:
        raise row.error(f"the clip ends at {end_s} s, not after its start at {start_s} s")
    if rate is not None and not _RATES[0] <= rate <= _RATES[1]:
        remedy = f"give {_RATES[0]:g} to {_RATES[1]:g}, or leave it out where nobody knows it"
        raise row.error(f"'fps' is {rate:g}", remedy)
    return Clip(_clip_name(given, start_s, end_s), finder.path(given, row), start_s, end_s, rate)


def _clip_name(given: str, start_s: float, end_s: float | None) -> str:
    """Two segments of one file are two clips, so the segment is in the name."""
    if start_s == 0 and end_s is None:
        return given
    return f"{given}@{start_s}-{'' if end_s is None else end_s}"


def as_written(clip: Clip, folder: Path) -> Clip:
    """A clip by the name that a label file in a folder has for it, so that its row is as short as can be."""
    return replace(clip, id=_clip_name(_medium(clip, folder)["path"], clip.start_s, clip.end_s))


def write(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples so that `Part.read` gives equal ones; the file appears whole or not at all.

    Paths inside the file's folder are written relative to it, others absolute.

    Args:
        path: The label file; replaced if it exists.
        samples: Complete samples, each with an answer.

    Returns:
        How many were written.

    Raises:
        FormatError: If a sample could not be read back; `path` is left as it was.
    """
    written: list[int] = []
    write_file(path, lambda part: written.append(_write_rows(path, part, samples)))
    return written[0]


def refuse_unwritable(sample: Sample) -> None:
    """See that `write` will take a sample.

    Raises:
        FormatError: If it could not be read back.
    """
    here = Path("labels.jsonl").absolute()
    _json_line(sample, sample.id, here.parent, MediaFinder(here, root=None, look=False))


def _write_rows(path: Path, part: Path, samples: Iterable[Sample]) -> int:
    taken: set[str] = set()
    finder = MediaFinder(path, root=None)
    with part.open("w", encoding="utf-8", newline="\n") as file:
        for count, sample in enumerate(samples, start=1):
            where = f"{path}:{count}"
            if sample.id in taken:
                raise FormatError(where, f"the id {sample.id!r} is given to two samples")
            taken.add(sample.id)
            file.write(_json_line(sample, where, path.parent, finder))
    return len(taken)


def _json_line(sample: Sample, where: str, folder: Path, finder: MediaFinder) -> str:
    """The row of a sample, once reading it has given the same conversation."""
    try:
        text = json.dumps(plain_row(sample, folder), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FormatError(where, f"sample {sample.id!r} cannot be written as JSON: {error}") from None
    again = _sample(Row(json.loads(text), where, ""), finder, CAPTION_PROMPT)
    if (again.turns, again.references) != (sample.turns, sample.references):
        said = again.turns, again.references
        raise FormatError(where, f"sample {sample.id!r} would be read back as {said}")
    return text + "\n"


def plain_row(sample: Sample, folder: Path) -> dict[str, Any]:
    """A sample as a row of a label file in a folder holds it."""
    row: dict[str, Any] = {"id": sample.id}
    media = [_medium(clip, folder) for clip in sample.media]
    if len(media) == 1 and media[0].keys() == {"path"}:
        row["video"] = media[0]["path"]
    else:
        row["media"] = media
    if [turn.role for turn in sample.turns] == ["user", "assistant"]:
        row["question"], row["answer"] = (turn.text for turn in sample.turns)
        if sample.references:
            row["answers"] = [row.pop("answer"), *sample.references]
    else:
        row["turns"] = [{"role": turn.role, "text": turn.text} for turn in sample.turns]
        if sample.references:
            row["answers"] = list(sample.references)
    if sample.rejected is not None:
        row["rejected"] = sample.rejected
    if sample.facts:
        row["facts"] = dict(sample.facts)
    if sample.claims:
        row["claims"] = [claim.to_dict() for claim in sample.claims]
    return row


def _medium(clip: Clip, folder: Path) -> dict[str, Any]:
    whole, base = clip.path.absolute(), folder.absolute()
    given = str(whole.relative_to(base)) if whole.is_relative_to(base) else str(whole)
    medium: dict[str, Any] = {"path": given}
    if clip.start_s:
        medium["start_s"] = clip.start_s
    if clip.end_s is not None:
        medium["end_s"] = clip.end_s
    if clip.rate is not None:
        medium["fps"] = clip.rate
    if clip.id != _clip_name(given, clip.start_s, clip.end_s):
        medium["id"] = clip.id
    return medium


def tiny() -> Part:
    """The format with its defaults."""
    return Part(Part.Config())


def tiny_data(folder: Path) -> Path:
    """Write the smallest label file and its medium into `folder`; return the file."""
    (folder / "still.gif").write_bytes(TINY_STILL)
    path = folder / "labels.jsonl"
    path.write_text('{"video": "still.gif", "question": "what colour?", "answer": "black."}\n')
    return path
