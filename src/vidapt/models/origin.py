"""Where a model's parts came from, kept so that it can be written back in its family's own layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vidapt.errors import CheckpointError

FOLDER = "published"
_ABOUT = "origin.json"


@dataclass(frozen=True)
class Origin:
    """The published checkpoint a model was opened from.

    Attributes:
        family: Whose layout it was in.
        files: Its JSON files (configuration, processors) by name.
    """

    family: str
    files: Mapping[str, str]


def save_origin(folder: Path, origin: Origin) -> None:
    """Write it into a model's folder."""
    place = folder / FOLDER
    place.mkdir()
    about = {"family": origin.family, "files": dict(origin.files)}
    (place / _ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_origin(folder: Path) -> Origin | None:
    """Read it from a model's folder; None if the model was not opened from a published checkpoint.

    Raises:
        CheckpointError: If it is damaged.
    """
    place = folder / FOLDER
    if not place.is_dir():
        return None
    try:
        about = json.loads((place / _ABOUT).read_text(encoding="utf-8"))
        return Origin(str(about["family"]), dict(about["files"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            place, f"cannot be read: {error!r}", "copy the model's folder again, or delete this one"
        ) from error
