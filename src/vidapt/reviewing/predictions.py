"""What models said of clips: captions, and answers of an evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from vidapt.captioning.rows import read_rows
from vidapt.cleaning.captions import said as captions_of
from vidapt.errors import FormatError
from vidapt.measure.verdicts import PREDICTIONS, read_kept
from vidapt.reviewing.made import Text

Place = tuple[str, float, float | None]
"""Which footage: a path, and the stretch of it."""


class Said(BaseModel):
    """What a model said of a clip.

    Attributes:
        model: Its name; of an evaluation, the folder's, with the arm.
        question: What it was asked.
        text: Its answer.
        right: Whether that counts as right; None where nobody says.
        frames: Seconds of the frames that it saw, from the first one of the file.
    """

    model: Text
    question: Text
    text: Text
    right: bool | None = None
    frames: list[float] = []


def place_of(path: str | Path, start_s: float | None = 0.0, end_s: float | None = None) -> Place:
    """Which footage a path and a stretch are."""
    return (
        os.path.normpath(Path(path).absolute()),
        float(start_s or 0.0),
        None if end_s is None else float(end_s),
    )


def read_predictions(path: Path) -> Iterator[tuple[Place, Said]]:
    """What a file of captions or a folder of an evaluation says, clip by clip.

    Raises:
        FormatError: If it is neither.
    """
    if not path.is_dir():
        for row in read_rows(path):
            for question, text in captions_of(row).values():
                said = Said(model=row.model, question=question, text=text, frames=list(row.frames))
                yield place_of(Path(row.folder, row.film), row.start_s, row.end_s), said
        return
    kept = read_kept(path)
    if kept is None:
        raise FormatError(path, f"has no {PREDICTIONS}", "name captions, or the folder of an evaluation")
    for one in kept.verdicts:
        for arm, text in one.predictions.items():
            said = Said(model=f"{path.name}: {arm}", question=one.question, text=text, right=one.right(arm))
            yield place_of(one.clip.path, one.clip.start_s, one.clip.end_s), said
