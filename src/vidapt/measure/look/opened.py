"""Open whatever can see: a video-language model or a dual encoder."""

from __future__ import annotations

from typing import Any

from vidapt.hub import open_dual_encoder
from vidapt.loading import compares, locate_dual, open_model, usable_device
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.video_lm import VideoLM


def open_seeing(name: str, device: str = "cpu") -> tuple[VideoLM | DualEncoder, Any]:
    """A model in evaluation mode and its tokenizer, or None where it has none.

    Args:
        name: What `loading.open_model` opens, or a dual encoder: a run, a saved folder, published weights.
        device: Where it runs.

    Raises:
        CheckpointError: If there is no such model, or its weights do not fit.
        ConfigError: If there is no such device.
    """
    if not compares(name):
        return open_model(name, device=device)
    model, tokenizer, _ = open_dual_encoder(locate_dual(name))
    return model.to(usable_device(device)), tokenizer
