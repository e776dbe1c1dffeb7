"""A run is not asked about what it was trained on, unless that is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import ConfigError
from vidapt.measure.overlap import refuse_trained_on
from vidapt.nouns import Clip, Sample, Turn

TURNS = (Turn("user", "q"), Turn("assistant", "a"))


def run(folder: Path, rows: list[dict[str, Any]], **source: Any) -> Path:
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = [{"path": str(folder / "train.jsonl"), **source}]
    (folder / "recipe.json").write_text(json.dumps({"name": "r", "stages": [{"name": "s", "data": data}]}))
    return folder


def asked(folder: Path, name: str, start: float = 0.0, end: float | None = None) -> list[Sample]:
    return [Sample("s", (Clip(name, folder / name, start, end),), TURNS)]


ROWS = [
    {"video": "a.mp4", "question": "q", "answer": "a"},
    {"video": "b.mp4", "question": "q", "answer": "a", "start_s": 0, "end_s": 5},
]


def test_clips_that_were_learned_from_are_refused(tmp_path: Path) -> None:
    folder = run(tmp_path, ROWS)
    for name, start, end in (("a.mp4", 0.0, None), ("a.mp4", 3.0, 4.0), ("b.mp4", 4.0, 9.0)):
        with pytest.raises(ConfigError, match=r"1 of its 1 clips are among those(?s:.*)--overlap"):
            refuse_trained_on(folder, asked(tmp_path, name, start, end), Path("test.jsonl"))
    for name, start in (("c.mp4", 0.0), ("b.mp4", 5.0)):
        refuse_trained_on(folder, asked(tmp_path, name, start), Path("test.jsonl"))


def test_what_cannot_be_known_is_not_refused(tmp_path: Path) -> None:
    test = asked(tmp_path, "a.mp4")
    refuse_trained_on(run(tmp_path, ROWS, limit=1), test, Path("test.jsonl"))
    folder = run(tmp_path, ROWS)
    (tmp_path / "train.jsonl").unlink()
    refuse_trained_on(folder, test, Path("test.jsonl"))
    (tmp_path / "recipe.json").write_text("{")
    refuse_trained_on(folder, test, Path("test.jsonl"))
    refuse_trained_on(Path("billiards-home"), test, Path("test.jsonl"))
