"""How many answers a device has room for at a time."""

from __future__ import annotations

import torch

from vidapt.inference.engine import Engine
from vidapt.models.memory import free_bytes
from vidapt.models.reading import column_bytes
from vidapt.models.video_lm import VideoLM

MOST = {"cuda": 256, "cpu": 32}
"""Rows written at a time: where a step is no longer bound by reading weights, more of them gain nothing."""

_SHARE = 0.75
"""Of free memory: the rest is for what is computed between layers, and for rows that are read to join."""


def rows_at_a_time(engine: Engine, tokens: int, held: float = 0) -> int:
    """Answers about clips that can be written together, at least one.

    Args:
        engine: The model, at its place.
        tokens: Of the longest question and the longest answer.
        held: Clips whose visual tokens are held meanwhile, for each answer.
    """
    device = engine.model.device
    most = MOST.get(device.type, MOST["cpu"])
    free = free_bytes(device)
    if free is None:
        return most
    row = (engine.clip_tokens + tokens) * _column_bytes(engine)
    row += int(held * engine.clip_tokens * visual_bytes(engine.model))
    rows = max(1, min(most, int(_SHARE * free / max(1, row))))
    return _rounded(rows)


def _rounded(rows: int) -> int:
    """The next below of 1, 2, 3, 4, 6, 8, 12, ...: a job that goes on finds some more or less memory."""
    power = 1 << rows.bit_length() - 1
    return power * 3 // 2 if power > 1 and rows >= power * 3 // 2 else power


@torch.inference_mode()
def _column_bytes(engine: Engine) -> int:
    return column_bytes(engine.model)


def visual_bytes(model: VideoLM) -> int:
    """What a visual token takes until it is read, with what enters deeper layers at its place."""
    words = model.language.get_input_embeddings().weight
    return int(words.shape[-1] * words.element_size() * (1 + len(model.depths)))
