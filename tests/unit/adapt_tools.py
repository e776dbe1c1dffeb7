"""A folder of small films with labels in LLaVA's form, as somebody has them who wants a model adapted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from curation_tools import film

COLOURS = ("red", "blue")


def clips_in(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Films that differ in what moves, so that nothing ties them together."""
    return [film(folder / f"{number:03d}.mp4", number + 1) for number in range(first, first + count)]


def conversation(name: str, number: int) -> dict[str, Any]:
    """A row of LLaVA's: a question with a short answer, and one that asks for a text."""
    colour = COLOURS[number % 2]
    said = [
        ("human", "<video>\nwhat colour is the ball?"),
        ("gpt", colour),
        ("human", "tell what happens."),
        ("gpt", f"a {colour} ball runs over the table and stops at the far cushion."),
    ]
    turns = [{"from": who, "value": text} for who, text in said]
    return {"id": str(number), "video": name, "conversations": turns}


def llava(file: Path, names: list[str]) -> Path:
    """A label file that names clips by paths of some folder."""
    file.write_text(json.dumps([conversation(name, number) for number, name in enumerate(names)]))
    return file


def footage(folder: Path, count: int) -> tuple[Path, Path]:
    """A folder of clips, and a label file elsewhere that names them from there."""
    clips = folder / "clips"
    names = [path.name for path in clips_in(clips, count)]
    (folder / "labels").mkdir()
    return clips, llava(folder / "labels" / "train.json", names)
