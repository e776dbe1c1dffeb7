"""A tiny model's folder, clips and labels to score, and rows as they are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training_tools import blueprint, tokenizer, video_lm, write_clips

from vidapt.evidence.job import Request, evidence
from vidapt.evidence.settings import Settings
from vidapt.evidence.summary import Summary
from vidapt.models.folder import save_model


def model_in(folder: Path, **changes: Any) -> Path:
    """A random model that can be opened."""
    save_model(folder, video_lm(**changes), tokenizer(), {})
    return folder


def labels_in(folder: Path, clips: int = 5) -> Path:
    """Questions, a caption of two sentences and a conversation about each clip."""
    labels = write_clips(folder, clips=clips, questions=2)
    rows = rows_of(labels)
    for clip in range(clips):
        rows.append(
            {
                "video": f"{clip}.mp4",
                "question": "what is it?",
                "answer": f"the red ball hits the blue one. it is {clip} and green.",
                "facts": {"type": "caption", "value": "text"},
            }
        )
    talk = [
        ("user", "is it red?"),
        ("assistant", "it is blue."),
        ("user", "and 3?"),
        ("assistant", "it is 4."),
    ]
    turns = [{"role": role, "text": text} for role, text in talk]
    rows.append({"video": "0.mp4", "turns": turns, "answers": ["it is 12."]})
    rows.append({"media": [], "question": "what is 3?", "answer": "it is 3."})
    return write_rows(labels, rows)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def score(labels: Path, out: Path, model: Path, **more: Any) -> Summary:
    settings = Settings(**more.pop("settings", {}))
    request = Request(labels=[labels], out=out, model=str(model), settings=settings, workers=0, **more)
    return evidence(request)


def folder_of(out: Path) -> dict[str, bytes]:
    """What a job wrote, without what it keeps for itself."""
    kept = out.with_name(f"{out.stem}.scores.jsonl")
    return {
        file.name: file.read_bytes()
        for file in sorted(out.parent.glob(f"{out.stem}*"))
        if file.is_file() and file != kept
    }


__all__ = ["blueprint", "folder_of", "labels_in", "model_in", "rows_of", "score", "write_rows"]
