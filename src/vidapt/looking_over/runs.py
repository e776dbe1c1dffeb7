"""What models said of clips: captions, files of answers, and answers of evaluations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidapt.captioning.rows import read_rows
from vidapt.cleaning.captions import is_captions
from vidapt.errors import CheckpointError, FormatError
from vidapt.files import exists
from vidapt.loading import BLUEPRINT, RUN, locate, shipped
from vidapt.looking_over.entries import Column, Place, Said, place_of
from vidapt.measure.verdicts import MODEL, PREDICTIONS, Kept, read_kept

_DEEP = 3
"""Folders within a folder that are looked through for evaluations."""


def find_runs(given: Sequence[str | Path]) -> list[tuple[str, Path]]:
    """Names of columns, and where their answers stand.

    Args:
        given: Files of captions or answers, folders of evaluations, or folders with such ones in them (runs,
            and what `vidapt eval` writes of several models); each may have a name: `base=PATH`.

    Raises:
        FormatError: If one is not there, or holds no answers.
    """
    found: dict[str, Path] = {}
    for one in given:
        name, path = _named(str(one))
        for place in _places(path):
            inside = place.relative_to(path).as_posix() if place != path else ""
            own = name or (path.name if path.is_dir() else path.stem) or "model"
            whole = own if inside in ("", ".") or len(_places(path)) == 1 else f"{own}/{inside}"
            key, number = whole, 2
            while key in found:
                key, number = f"{whole} ({number})", number + 1
            found[key] = place
    return list(found.items())


def _named(given: str) -> tuple[str, Path]:
    name, sign, path = given.partition("=")
    return (name, Path(path)) if sign and name and not exists(Path(given)) else ("", Path(given))


def _places(path: Path) -> list[Path]:
    """The file, or folders of evaluations."""
    if not exists(path):
        raise FormatError(path, "there is no such file or folder", "name captions, answers, or evaluations")
    if not path.is_dir():
        return [path]
    deep = ("*/" * levels + PREDICTIONS for levels in range(_DEEP + 1))
    near = sorted(file.parent for pattern in deep for file in path.glob(pattern))
    if not near:
        raise FormatError(path, f"has no {PREDICTIONS}", "name captions, or the folder of an evaluation")
    return near


class Answers:
    """What one file or folder says.

    Args:
        name: Of its column.
        path: The file or folder.

    Raises:
        FormatError: If it holds something else.
    """

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path
        self._kept: Kept | None = read_kept(path) if path.is_dir() else None
        policy = None if self._kept is None else _policy(path, self._kept)
        self.column = Column(name, str(path.absolute()), policy)

    def by_clip(self) -> Iterator[tuple[Place, Said]]:
        """Answers with the footage that they are about."""
        if self._kept is not None:
            for one in self._kept.verdicts:
                where = place_of(one.clip.path, one.clip.start_s, one.clip.end_s)
                said = Said(model=self._name, question=one.question, text="", sample=one.sample)
                for arm, text in one.predictions.items():
                    told = {"text": text, "right": one.right(arm), "arm": "" if arm == MODEL else arm}
                    yield where, said.model_copy(update=told)
        elif is_captions(self._path):
            for row in read_rows(self._path):
                text = "\n".join(row.captions or (row.caption,))
                said = Said(model=self._name, question=row.prompt, text=text, frames=list(row.frames))
                yield place_of(row.footage(), row.start_s, row.end_s), said

    def by_id(self) -> Mapping[str, str]:
        """Answers by the ids of labels, which such a file names instead of footage."""
        if self._kept is not None or is_captions(self._path):
            return {}
        from vidapt.measure.predicted import read_predictions

        return read_predictions(self._path).answers


def _policy(evaluation: Path, kept: Kept) -> Mapping[str, Any] | None:
    """Which frames the model of an evaluation sees, if it is a shipped one or that of a run around it."""
    name = str(kept.header.about.get("name", ""))
    home: Path | None = shipped().get(name)
    for folder in evaluation.absolute().parents[:_DEEP]:
        if home is None and (folder / RUN).is_file():
            try:
                home = locate(folder)
            except CheckpointError:  # no stage of it is finished
                return None
    return None if home is None else policy_of(home)


def policy_of(model: Path) -> Mapping[str, Any] | None:
    """Which frames of a clip the model in a folder sees; None where its folder does not say."""
    try:
        frames = json.loads((model / BLUEPRINT).read_text(encoding="utf-8"))["frames"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return frames if isinstance(frames, dict) else None
