"""Labels as they come: rows of any format, and where they come from if a teacher made them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vidapt.cleaning.labels import Origin
from vidapt.errors import FormatError
from vidapt.files import exists
from vidapt.formats import each_sample
from vidapt.formats._base import distinct
from vidapt.nouns import Sample
from vidapt.probing.facts import stated_type
from vidapt.teaching.rows import LabelRow, read_rows

PROVENANCE = ".provenance.jsonl"
_SPOKEN = "caption"
"""The mode in which voices say texts; in others they state facts as JSON."""


@dataclass
class Inputs:
    """What is to be cleaned.

    Attributes:
        samples: Sound rows, each with an id of its own.
        origins: By the ids of these.
        unsound: What is wrong with the others.
    """

    samples: list[Sample] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)
    unsound: list[FormatError] = field(default_factory=list)


def read_inputs(
    files: Sequence[str | Path],
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    provenance: Sequence[Path] = (),
) -> Inputs:
    """Read label files.

    A file of provenance stands for the labels in it. Beside a label file, `FILE.provenance.jsonl` is read if
    it is there. Ids that come again in another file get a number behind them.

    Args:
        files: Label files, folders, patterns.
        kind: Their format; told from their content if None.
        options: Of the format.
        provenance: Further files of provenance, whose ids are those of the labels.

    Raises:
        FormatError: If a file is not there, no format has such rows, or provenance is none.
    """
    found = Inputs()
    given = {key: one for path in provenance for key, one in _origins(read_rows(path))}
    rows: list[tuple[Sample, Origin | None]] = []
    for file in files:
        path = Path(file)
        beside = path.with_name(path.name + PROVENANCE)
        if path.name.endswith(PROVENANCE):
            made = list(read_rows(path))
            known = given | dict(_origins(made))
            each: Iterable[Sample | FormatError] = _samples(made, path)
        else:
            known = given | (dict(_origins(read_rows(beside))) if exists(beside) else {})
            each = each_sample(path, kind, **(options or {}))
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
            yield str(label.get("id", "")), Origin(row.agreement, voices, clauses)
