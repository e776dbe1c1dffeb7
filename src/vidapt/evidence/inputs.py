"""Labels whose clips are there, and what is amiss with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vidapt.curation.footage import contents
from vidapt.errors import ConfigError, FormatError
from vidapt.evidence.ask import each_answer
from vidapt.files import exists
from vidapt.formats import each_sample, shards_of
from vidapt.formats._base import distinct
from vidapt.nouns import Sample

_PROVENANCE = ".provenance.jsonl"


@dataclass
class Inputs:
    """What is to be scored.

    Attributes:
        rows: All sound rows, without claims they had, in their order.
        scored: Those with an answer about one clip, whose file is there.
        missing: Why other rows about one clip are not scored, by their ids.
        unsound: What is wrong with what is no row.
        contents: What is in the files of clips.
    """

    rows: list[Sample] = field(default_factory=list)
    scored: list[Sample] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    unsound: list[FormatError] = field(default_factory=list)
    contents: dict[Path, str] = field(default_factory=dict)


def read_inputs(files: Sequence[str | Path], kind: str | None, options: Mapping[str, Any]) -> Inputs:
    """Read label files of any format.

    Raises:
        FormatError: If a file is not there, or no format has such rows.
        ConfigError: If no row can be scored.
    """
    found = Inputs()
    rows: list[Sample] = []
    for file in files:
        for one in each_sample(file, kind, **options):
            if isinstance(one, FormatError):
                found.unsound.append(one)
            else:
                rows.append(replace(one, claims=(), counts=()))
    found.rows = list(distinct(rows))
    about = [one for one in found.rows if len(one.media) == 1 and each_answer(one)]
    found.contents = contents(list(dict.fromkeys(one.media[0].path for one in about)))
    for one in about:
        path = one.media[0].path
        if path in found.contents:
            found.scored.append(one)
        else:
            found.missing[one.id] = "cannot be read" if exists(path) else f"there is no file {path}"
    if not found.scored:
        told = next(iter(found.missing.values()), "no row has an answer about one clip")
        raise ConfigError(str(files[0]), f"nothing can be scored: {told}", "check the paths; --media-root")
    return found


def provenance_of(files: Sequence[str | Path], given: Sequence[Path]) -> list[Path]:
    """Files of provenance: those that are given, and what lies beside label files."""
    beside = [file.with_name(file.name + _PROVENANCE) for name in files for file in shards_of(Path(name))]
    return [*given, *(file for file in beside if exists(file))]
