"""LLaVA-1.5: CLIP's last but one layer, a two-layer MLP, a language model; one image at a time.

Source: Liu et al. 2023, "Improved Baselines with Visual Instruction Tuning" (arXiv 2310.03744). Reads the
conversions on the hub (2024 and later layouts) and the authors' own files, which name the vision tower
instead of describing it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _anyres, _authors, _composed
from vidapt.hub._keys import rewrite
from vidapt.hub._preprocess import read_pixels
from vidapt.recipe import Blueprint
from vidapt.video.choose import Uniform

FAMILY = "llava"

TOKENS = "frames x 576 (24 x 24 patches of 14 pixels at 336)"
LICENCE = "Llama 2 community licence (Vicuna); Apache-2.0 (Mistral)"

_AUTHORS = "LlavaLlamaForCausalLM"

CLAIMS = (("llava", "LlavaForConditionalGeneration"), ("llava", _AUTHORS), ("llava_llama", _AUTHORS))
"""(model_type, architecture) of the configurations this family opens."""

RULES = (*_composed.RECOMPUTED, _composed.NEWLINE, *_authors.RULES, *_composed.HUB)

habit, beside = _anyres.habit, _authors.beside


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    tower, language = _anyres.tower_and_language(config, where)
    aspect = config.get("image_aspect_ratio", "square")
    if _authors.is_authors(config) and aspect not in ("pad", "square"):
        raise CheckpointError(where, f"image_aspect_ratio is {aspect!r}", "known: pad, square")
    pixels = read_pixels(folder, _composed.side(tower), video=False)
    resolution = {"kind": "pad"} if aspect == "pad" else pixels.resolution
    return Blueprint(
        towers=({**tower, "mean": pixels.mean, "std": pixels.std},),
        connector={"kind": "pool_mlp", "bias": _composed.check_projector(config, where)},
        language=language,
        resolution=resolution,
        frames=Uniform(count=1, pad=False),
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, _composed.TO_HUB, FAMILY)


def to_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout; see `_authors.to_authors`."""
    return _authors.to_authors(state, FAMILY)
