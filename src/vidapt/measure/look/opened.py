"""Open whatever can see: a video-language model or a dual encoder."""

from __future__ import annotations

from typing import Any

from vidapt.loading import open_model
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.video_lm import VideoLM


def open_seeing(name: str, device: str = "cpu") -> tuple[VideoLM | DualEncoder, Any]:
    """A model in evaluation mode and its tokenizer, or None where it has none.

    Raises:
        CheckpointError: If there is no such model, or its weights do not fit.
    """
    return open_model(name, device=device)
