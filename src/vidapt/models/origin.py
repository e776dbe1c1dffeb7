"""Where a model's parts came from, kept so that it can be written back in its family's own layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import CheckpointError

FOLDER = "published"
_ABOUT = "origin.json"


@dataclass(frozen=True)
class Origin:
    """The published checkpoint a model was opened from.

    Attributes:
        family: Whose layout it was in.
        files: Its small files (configuration, processors, tokenizer settings) by name, as they were.
    """

    family: str
    files: Mapping[str, bytes]

    def read(self, name: str) -> dict[str, Any]:
        """One of its JSON files; empty if it had none of that name.

        Raises:
            CheckpointError: If it is damaged.
        """
        text = self.files.get(name)
        try:
            return dict(json.loads(text)) if text else {}
        except (ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(
                name, f"as it was published, cannot be read: {error}", "fetch it again, or delete it"
            ) from error


def save_origin(folder: Path, origin: Origin) -> None:
    """Write it into a model's folder."""
    place = folder / FOLDER
    place.mkdir()
    about = {"family": origin.family, "files": sorted(origin.files)}
    (place / _ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    for name, content in origin.files.items():
        (place / name).write_bytes(content)


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
        names = [str(name) for name in about["files"]]
        if any(Path(name).name != name for name in names):
            raise ValueError(f"{names} are not all names of files in it")  # noqa: TRY301 - told like the others
        return Origin(str(about["family"]), {name: (place / name).read_bytes() for name in names})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            place, f"cannot be read: {error!r}", "copy the model's folder again, or delete this one"
        ) from error
