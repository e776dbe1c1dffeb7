"""Label files of every format, and what is said of one that is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import FormatError
from vidapt.formats import open_samples
from vidapt.nouns import Sample


def put(path: Path, *rows: Any) -> Path:
    """JSON lines or a JSON list with one row per line, by the suffix."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text(
        "\n".join(lines) if path.suffix == ".jsonl" else "[\n" + ",\n".join(lines) + "\n]", encoding="utf-8"
    )
    return path


def read(path: Path, kind: str, **config: Any) -> list[Sample]:
    return list(open_samples(path, kind, **config))


def refused(path: Path, kind: str | None = None, **config: Any) -> str:
    with pytest.raises(FormatError) as caught:
        list(open_samples(path, kind, **config))
    return str(caught.value)


def llava(*values: str, **more: Any) -> dict[str, Any]:
    roles = ("human", "gpt")
    return {"conversations": [{"from": roles[i % 2], "value": v} for i, v in enumerate(values)], **more}


def chat(*contents: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)], **more}


QA = {"video": "a.mp4", "question": "what colour?", "answer": "red"}
