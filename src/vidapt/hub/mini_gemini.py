"""Mini-Gemini and Mini-Gemini-HD: CLIP's cells ask a ConvNeXt's finer map what lies inside them.

Source: Li et al. 2024, "Mini-Gemini: Mining the Potential of Multi-modality Vision Language Models" (arXiv
2403.18814), and the authors' code, which was first called `mini_gemini` and later `mgm`. Their files hold
both towers beside the language model: CLIP under `model.vision_tower`, the stem and stages of OpenCLIP's
ConvNeXt, by timm's names, under `model.vision_tower_aux`. The configuration tells the towers' sizes only by
the path of a folder on the authors' machines, so they are read from the tensors' shapes.

The models are trained on stills. Of footage every frame is looked at as if it were one; how many frames are
taken follows from the positions that the language model has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import LlamaConfig

from vidapt.errors import CheckpointError
from vidapt.hub import _composed, _dual, _prompts, _timm
from vidapt.hub._files import Stored, stored
from vidapt.hub._keys import Rule, Shape, rewrite
from vidapt.hub._prompts import Habit
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Uniform

FAMILY = "mini_gemini"

TOKENS = "576 a frame; HD: 5 x 576 = 2880 a frame"
LICENCE = "CC BY-NC 4.0"

CLAIMS = (("mini_gemini", "MiniGeminiLlamaForCausalLM"), ("mgm", "MGMLlamaForCausalLM"))
"""(model_type, architecture) of the configurations this family opens."""

LLAMA_3 = _prompts.LLAMA_3.model_copy(update={"opening": "<|start_header_id|>system<|end_header_id|>\n\n"})
"""The authors' template heads the answers, too, as the system's."""

_CLIP = "model.vision_tower.vision_tower.vision_model."
_AUX = "model.vision_tower_aux."
_STEM, _STAGES = f"{_AUX}vision_stem.", f"{_AUX}vision_stages."

_LAYERS = (
    ("vlm_uni_query_projector", "query"),
    ("vlm_uni_aux_projector", "key"),
    ("vlm_uni_val_projector", "value"),
    ("mm_projector", "mlp"),
)
"""Layers of the connector, the authors' names and ours."""

_TEXT = 1024
"""Positions left free for the conversation when the number of frames is chosen."""

RULES = (
    *_composed.RECOMPUTED,
    Rule(r"model\.vision_tower\.vision_tower\.(?:vision_model\.)?(.*)", r"towers.0.net.\1"),
    *_timm.to_ours(_STEM, _STAGES, "towers.1."),
    *(Rule(rf"model\.{theirs}\.(.*)", rf"connector.{ours}.\1") for theirs, ours in _LAYERS),
    Rule(r"(model\.(?:embed_tokens|layers|norm)\..*|lm_head\..*)", r"language.\1"),
)

TO_HUB = (
    Rule(r"towers\.0\.net\.(.*)", rf"{_CLIP}\1"),
    *_timm.from_ours("towers.1.", _STEM, _STAGES),
    *(Rule(rf"connector\.{ours}\.(.*)", rf"model.{theirs}.\1") for theirs, ours in _LAYERS),
    Rule(r"language\.((?:model|lm_head)\..*)", r"\1"),
)
"""Our names to the authors'."""


def habit(config: Mapping[str, Any]) -> Habit:
    """The authors' own way; their files hold the template of the language model that they began with."""
    del config
    return Habit(template="last", own={"llama_3": LLAMA_3})


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint; the towers' sizes are read from its files.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for, or lacks a tower.
    """
    where = folder / "config.json"
    _check(config, where)
    tensors = stored(folder)
    clip = _clip(tensors, folder)
    grid = int(config.get("image_grid", 1))
    overview = grid > 1 and bool(config.get("image_global", False))
    language = _composed.flat_language(config, LlamaConfig)
    tokens = (grid**2 + int(overview)) * (clip["image_size"] // clip["patch_size"]) ** 2
    positions = int(language.get("max_position_embeddings", 2048))
    return Blueprint(
        towers=(
            {"kind": "frame_vit", "arch": clip, "layer": int(config.get("mm_vision_select_layer", -2))},
            {"kind": "convnext", "arch": _timm.arch(_shapes(tensors), _STEM, _STAGES, folder)},
        ),
        connector={"kind": "patch_mining", "depth": _depth(config, where)},
        language=language,
        resolution={
            "kind": "two_scale",
            "fine": int(config.get("image_size_aux", 320)),
            "fit": "pad" if config.get("image_aspect_ratio") == "pad" else "crop",
            "grid": grid,
            "overview": overview,
        },
        frames=Uniform(count=max(1, (positions - _TEXT) // tokens), pad=False),
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)


def _check(config: Mapping[str, Any], where: Path) -> None:
    feature = config.get("mm_vision_select_feature", "patch")
    if feature != "patch":
        raise CheckpointError(where, f"mm_vision_select_feature is {feature!r}", "only 'patch' is supported")
    if config.get("mm_use_im_start_end"):
        raise CheckpointError(where, "mm_use_im_start_end is set", "no published model marks its images")


def _depth(config: Mapping[str, Any], where: Path) -> int:
    kind = str(config.get("mm_projector_type", "linear"))
    match = re.fullmatch(r"mlp(\d+)x_gelu", kind)
    if match is None:
        raise CheckpointError(where, f"mm_projector_type is {kind!r}", "known: mlp2x_gelu, mlp3x_gelu, ...")
    return int(match[1])


def _clip(tensors: Mapping[str, Stored], folder: Path) -> Spec:
    named = {
        re.sub(r"(vision_tower\.)(?!vision_)", r"\1vision_model.", k): s for k, s in _shapes(tensors).items()
    }
    shapes = _dual.Shapes(named, folder)
    width = shapes.side(f"{_CLIP}embeddings.patch_embedding.weight", 0)
    return shapes.vision(_CLIP.removesuffix("."), heads=max(1, width // _dual.HEAD))


def _shapes(tensors: Mapping[str, Stored]) -> dict[str, Shape]:
    return {key: entry.shape for key, entry in tensors.items()}
