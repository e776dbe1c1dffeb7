"""Labels to clean, and checks asked of texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidapt.captioning.rows import CaptionRow
from vidapt.cleaning.job import Cleaned, Source, clean
from vidapt.cleaning.labels import NOTHING, Given, Label, Origin, Verdict
from vidapt.cleaning.settings import CHECKS, read_cleaning
from vidapt.nouns import Clip, Sample, Turn
from vidapt.parts import find

ASK = "describe the video."


def sample(name: str, answer: str, question: str = ASK, clip: str | None = None, **facts: Any) -> Sample:
    """A row about a clip of its own, or about a named one."""
    media = (Clip(clip or f"{name}.mp4", Path(f"/clips/{clip or name}.mp4")),)
    return Sample(name, media, (Turn("user", question), Turn("assistant", answer)), facts=facts)


def judge(check: str, labels: Sequence[Label], given: Given = NOTHING, **options: Any) -> list[Verdict]:
    part = find(CHECKS, check)
    return list(part(part.Config(**options), given).judge(labels))


def judge_texts(check: str, texts: Sequence[str], **options: Any) -> list[Verdict]:
    return judge(check, [Label(sample(str(n), text), 1) for n, text in enumerate(texts)], **options)


def outcomes(check: str, texts: Sequence[str], **options: Any) -> list[str]:
    return [verdict.outcome for verdict in judge_texts(check, texts, **options)]


def spoken(text: str, *voices: str, agreement: float | None = None) -> Label:
    """A caption that was chosen from several."""
    return Label(sample("a", text), 1, Origin(agreement, voices))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    """Label rows; clips need not be there. What is a text already is written as it is."""
    lines = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def row(name: str, answer: str, question: str = ASK, **more: Any) -> dict[str, Any]:
    return {"id": name, "video": f"{name}.mp4", "question": question, "answer": answer, **more}


def caption(folder: Path, clip: str, text: str, **more: Any) -> CaptionRow:
    """A row as `vidapt caption` writes it."""
    plain: dict[str, Any] = {
        "key": clip,
        "clip": clip,
        "caption": text,
        "model": "small",
        "model_hash": "m",
        "recipe_hash": None,
        "prompt": ASK,
        "settings": "s",
        "frames": (0.5, 1.5),
        "visual_tokens": 1,
        "text_tokens": 1,
        "new_tokens": 1,
        "finish": "end",
        "seconds": 0.0,
        "notes": (),
        "created": "2026-01-01T00:00:00+00:00",
        "version": "0",
        "folder": str(folder),
    }
    return CaptionRow(**plain | more)


def run(labels: Path, out: Path, *overrides: str, decisions: Path | None = None, **which: Any) -> Cleaned:
    blind = which.pop("blind", None)
    settings = read_cleaning(None, overrides, **which)
    return clean(Source([labels], decisions=decisions), out, settings, blind=blind)
