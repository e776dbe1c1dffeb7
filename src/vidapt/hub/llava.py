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
from transformers import LlamaConfig

from vidapt.errors import CheckpointError, nearest
from vidapt.hub import _composed
from vidapt.hub._chat import prompt_of
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._preprocess import read_pixels
from vidapt.hub._prompts import prompt_for
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Uniform

FAMILY = "llava"

TOKENS = "frames x 576 (24 x 24 patches of 14 pixels at 336)"
LICENCE = "Llama 2 community licence (Vicuna); Apache-2.0 (Mistral)"

_AUTHORS = "LlavaLlamaForCausalLM"

CLAIMS = (("llava", "LlavaForConditionalGeneration"), ("llava", _AUTHORS), ("llava_llama", _AUTHORS))
"""(model_type, architecture) of the configurations this family opens."""

RULES = (
    *_composed.RECOMPUTED,
    _composed.NEWLINE,
    Rule(r"model\.vision_tower\.vision_tower\.vision_model\.(.*)", r"towers.0.net.\1"),
    Rule(r"model\.mm_projector\.([02])\.(.*)", r"connector.mlp.\1.\2"),
    Rule(r"model\.((?:embed_tokens|layers|norm)\..*)", r"language.model.\1"),
    *_composed.HUB,
)

_LARGE: Spec = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 768,
}

_NAMED_TOWERS: Mapping[str, Spec] = {
    "openai/clip-vit-large-patch14": {**_LARGE, "image_size": 224},
    "openai/clip-vit-large-patch14-336": {**_LARGE, "image_size": 336},
}


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    authors = _AUTHORS in (config.get("architectures") or ())
    tower, language = _authors(config, where) if authors else _converted(config, where)
    pixels = read_pixels(folder, _composed.side(tower), video=False)
    resolution = {"kind": "pad"} if config.get("image_aspect_ratio") == "pad" else pixels.resolution
    return Blueprint(
        towers=({**tower, "mean": pixels.mean, "std": pixels.std},),
        connector={"kind": "pool_mlp", "bias": _composed.check_projector(config, where)},
        language=language,
        resolution=resolution,
        frames=Uniform(count=1, pad=False),
        prompt=prompt_of(folder, prompt_for(language, folder)),
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, _composed.TO_HUB, FAMILY)


def _converted(config: Mapping[str, Any], where: Path) -> tuple[Spec, Spec]:
    return _composed.tower(config, where), _composed.language(config, where)


def _authors(config: Mapping[str, Any], where: Path) -> tuple[Spec, Spec]:
    """Tower and language model of a configuration as the authors write it: flat, with `mm_` fields."""
    name = str(config.get("mm_vision_tower"))
    if name not in _NAMED_TOWERS:
        raise CheckpointError(where, f"mm_vision_tower is {name!r}", nearest(name, _NAMED_TOWERS))
    for field, value in {"mm_projector_type": "mlp2x_gelu", "mm_vision_select_feature": "patch"}.items():
        if config.get(field, value) != value:
            raise CheckpointError(where, f"{field} is {config[field]!r}", f"only {value!r} is supported")
    aspect = config.get("image_aspect_ratio", "square")
    if aspect not in ("pad", "square"):
        raise CheckpointError(where, f"image_aspect_ratio is {aspect!r}", "tiling of images is not supported")
    layer = int(config.get("mm_vision_select_layer", -2))
    return {"kind": "frame_vit", "arch": _NAMED_TOWERS[name], "layer": layer}, _composed.flat_language(
        config, LlamaConfig
    )
