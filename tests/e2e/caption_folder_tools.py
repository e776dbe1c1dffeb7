"""Captioning a folder, and what a job tells of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caption_tools import TOKENS

from vidapt.captioning.bulk import Summary, caption_folder
from vidapt.inference.engine import Engine
from vidapt.models.decoding import Decoding

BATCH = 4


def run(engine: Engine, source: Path, out: Path, **options: Any) -> Summary:
    given = {"decoding": Decoding(max_new_tokens=TOKENS), "workers": 0, "batch": BATCH} | options
    return caption_folder(engine, source, out, **given)


def counts(summary: Summary) -> tuple[int, int, int]:
    return summary.captioned, summary.kept, summary.broken
