"""Captioning into a file, and what a job tells of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caption_tools import TOKENS

from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.summary import StoreSummary
from vidapt.captioning.store.work import caption_store
from vidapt.inference.engine import Engine
from vidapt.models.decoding import Decoding

BATCH = 4


def run(engine: Engine, source: Path | list[Path], out: Path, **options: Any) -> StoreSummary:
    given = {"decoding": Decoding(max_new_tokens=TOKENS), "workers": 0, "batch": BATCH} | options
    return caption_store(Builtin(engine), source, out, **given)


def counts(summary: StoreSummary) -> tuple[int, int, int]:
    return summary.captioned, summary.kept, summary.failed
