"""Labels as they come: rows of any format, and where they come from if a teacher made them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vidapt.captioning.rows import CaptionRow
from vidapt.captioning.rows import read_rows as read_captions
from vidapt.cleaning.captions import captioned, is_captions, said
from vidapt.cleaning.cost import Made
from vidapt.cleaning.labels import Origin
from vidapt.errors import FormatError
from vidapt.files import exists
from vidapt.formats import each_sample
from vidapt.formats._base import distinct
from vidapt.nouns import Sample
from vidapt.probing.facts import stated_type
from vidapt.teaching.rows import LabelRow, read_rows

PROVENANCE, _QUARANTINE = ".provenance.jsonl", ".quarantine.jsonl"
_SPOKEN = "caption"
"""The mode in which voices say texts; in others they state facts as JSON."""


@dataclass
class Inputs:
    """What is to be cleaned.

    Attributes:
        samples: Sound rows, each with an id of its own.
        origins: By the ids of these.
        unsound: What is wrong with the others.
        made: What was spent on clips, by the `made` of their origins; those without labels are there, too.
    """

    samples: list[Sample] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)
    unsound: list[FormatError] = field(default_factory=list)
    made: dict[str, Made] = field(default_factory=dict)


def read_inputs(
    files: Sequence[str | Path],
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    provenance: Sequence[Path] = (),
    per_hour: float | None = None,
) -> Inputs:
    """Read label files, or captions that `vidapt caption` wrote.

    A file of provenance stands for the labels in it. Beside a label file, `FILE.provenance.jsonl` is read if
    it is there. Ids that come again in another file get a number behind them.

    Args:
        files: Label files, folders, patterns; files of captions or provenance.
        kind: Their format; told from their content if None.
        options: Of the format.
        provenance: Further files of provenance, whose ids are those of the labels.
        per_hour: What an hour of the machine costs that captioned.

    Raises:
        FormatError: If a file is not there, no format has such rows, or provenance is none.
    """
    found = Inputs()
    given = dict(_origins([row for path in provenance for row in _made(path, found)]))
    rows: list[tuple[Sample, Origin | None]] = []
    for file in files:
        known, each = _each(Path(file), kind, options, found, per_hour)
        known = given | known
        for one in each:
            if isinstance(one, FormatError):
                found.unsound.append(one)
            else:
                rows.append((one, known.get(one.id)))
    for sample, (_, origin) in zip(distinct(sample for sample, _ in rows), rows, strict=True):
        found.samples.append(sample)
        if origin is not None:
            found.origins[sample.id] = origin
    return found


def _each(
    path: Path,
    kind: str | None,
    options: Mapping[str, Any] | None,
    found: Inputs,
    per_hour: float | None,
) -> tuple[dict[str, Origin], Iterable[Sample | FormatError]]:
    """Rows of a file, and where they come from by their ids."""
    if path.name.endswith(PROVENANCE):
        made = _made(path, found)
        return dict(_origins(made)), _samples(made, path)
    if kind is None and is_captions(path):
        captions = read_captions(path)
        found.made |= {one.key: _by_student(one, per_hour) for one in captions}
        origins = {name: Origin(made=one.key) for one in captions for name in said(one)}
        return origins, captioned(captions, path)
    beside = path.with_name(path.name + PROVENANCE)
    known = dict(_origins(_made(beside, found))) if exists(beside) else {}
    return known, each_sample(path, kind, **(options or {}))


def _made(path: Path, found: Inputs) -> list[LabelRow]:
    """Rows of provenance; what was spent on them, and on the clips without labels beside them, is noted."""
    rows = list(read_rows(path))
    spent = {row.key: row.usage for row in rows}
    broken = path.with_name(path.name.removesuffix(PROVENANCE) + _QUARANTINE)
    if path.name.endswith(PROVENANCE) and exists(broken):
        with suppress(OSError, ValueError, TypeError, KeyError):
            for line in filter(None, broken.read_text(encoding="utf-8").split("\n")):
                row = json.loads(line)
                spent[f"{broken}: {row['clip']}"] = row
    for key, usage in spent.items():
        with suppress(KeyError, TypeError, ValueError):  # of earlier versions, or never opened at all
            found.made[key] = Made.of_usage(usage)
    return rows


def _by_student(row: CaptionRow, per_hour: float | None) -> Made:
    tokens = row.visual_tokens + row.text_tokens + row.new_tokens
    money = None if per_hour is None else row.seconds / 3600 * per_hour
    return Made("student", 1, tokens, row.seconds, money)


def _samples(rows: Sequence[LabelRow], path: Path) -> Iterator[Sample]:
    for number, row in enumerate(rows, 1):
        for sample in row.samples(path.parent):
            yield replace(sample, source=f"{path}:{number}")


def _origins(rows: Iterable[LabelRow]) -> Iterator[tuple[str, Origin]]:
    """Origins of all labels of rows, by their ids."""
    for row in rows:
        voices = tuple(str(one.get("text", "")) for one in row.voices) if row.mode == _SPOKEN else ()
        types = {str(fact.get("id", "")): stated_type(fact) for fact in row.facts}
        for label in row.labels:
            clauses = tuple(
                (str(part.get("text", "")), tuple(types.get(str(one), "") for one in part.get("facts", ())))
                for part in label.get("parts", ())
            )
            yield str(label.get("id", "")), Origin(row.agreement, voices, clauses, row.key)
