"""One question about every clip of a store, and four, by a model of random weights."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from _packing_work import Sizes, make_work
from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.work import caption_store
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding

SIZES = Sizes(576, clips=12, seconds=4.0, tower_width=256, tower_layers=6, width=512, layers=8)
NEW_TOKENS, ROUNDS = (16, 32), 2
PROMPTS = (
    "describe the video.",
    "what does the ball do at the end?",
    "which things touch one another?",
    "what stands still, and where?",
)


def prompts(folder: Path) -> dict[str, Any]:
    """CPU seconds with one question, and with four in one store.

    Args:
        folder: Where clips, the model and the stores lie.
    """
    torch.set_num_threads(1)
    work = make_work(folder, SIZES)
    engine = load(work.checkpoint)
    found = {str(length): _compared(engine, work.labels.parent, folder, length) for length in NEW_TOKENS}
    return {"sizes": SIZES.__dict__, "by_new_tokens": found}


def _compared(engine: Engine, clips: Path, folder: Path, length: int) -> dict[str, Any]:
    """Of answers of one length."""
    arms = {"one": PROMPTS[:1], "four": PROMPTS}
    took: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(ROUNDS):
        for name, asked in arms.items():
            took[name].append(_seconds(engine, clips, folder / f"{length}-{number}-{name}", asked, length))
    return {"cpu_seconds": took, "four_by_one": min(took["four"]) / min(took["one"])}


def _seconds(engine: Engine, clips: Path, out: Path, asked: Any, length: int) -> float:
    """CPU seconds of this process, in which everything happens."""
    began = time.process_time()
    decoding = Decoding(max_new_tokens=length)
    done = caption_store(Builtin(engine), clips, out, prompts=asked, decoding=decoding, workers=0)
    if done.captioned != SIZES.clips:
        raise RuntimeError(f"{done.captioned} of {SIZES.clips} clips")
    return time.process_time() - began
