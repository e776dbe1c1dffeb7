"""PLLaVA: all frames through the projector, then an adaptive average over time, height and width.

Source: Xu et al. 2024, "PLLaVA: Parameter-free LLaVA Extension from Images to Videos for Video Dense
Captioning" (arXiv 2404.16994, equation 2: pooling comes after the projector), and the authors' code. The
language model carries low-rank adapters on its query and value projections, trained with alpha 32 and
published for use with alpha 4; `with_alpha` sets another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._files import Stored, stored
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._preprocess import read_pixels
from vidapt.hub._prompts import CHATML, PLLAVA, Habit
from vidapt.recipe import Blueprint, LoRA
from vidapt.video.choose import Uniform

FAMILY = "pllava"

TOKENS = "16 x 12 x 12 = 2304 (or the shape of its config, such as 16 x 8 x 8), however many frames"
LICENCE = "Llama 2 community licence (7B, 13B); Yi licence (34B)"

CLAIMS = (("pllava", "PllavaForConditionalGeneration"),)
"""(model_type, architecture) of the configurations this family opens."""

KEEPS_ADAPTERS = True
"""The published files hold the adapters apart."""

ALPHA = 4.0
"""The alpha of the authors' scripts for inference: a scale of 1/32 at their rank of 128."""

_SHAPE = (16, 12, 12)
_DROPOUT = 0.05
_ADAPTER = re.compile(r"language_model\.base_model\.model\..*\.(\w+)\.lora_A\.default\.weight")

RULES = (
    *_composed.RECOMPUTED,
    _composed.NEWLINE,
    Rule(r"language_model\.base_model\.model\.(.*)", r"language.\1"),
    *_composed.HUB,
)

TO_HUB = (
    *_composed.TO_HUB[:-1],
    Rule(r"language\.(.*)", r"language_model.base_model.model.\1"),
)


_PLLAVA_34B = CHATML.model_copy(update={"start": "<|im_start|>system\nAnswer the question.<|im_end|>"})


def habit(config: Mapping[str, Any]) -> Habit:
    """The authors' scripts write conversations their own way; a template beside them is the base model's."""
    del config
    return Habit(template="never", own={"vicuna": PLLAVA, "yi": _PLLAVA_34B})


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint; the adapters' rank and places are read from the files.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    method = config.get("pooling_method", "avg")
    if method != "avg" or not config.get("use_pooling", True):
        raise CheckpointError(where, f"pooling_method is {method!r}", "only average pooling is supported")
    tower, language = _composed.tower(config, where), _composed.language(config, where)
    pixels = read_pixels(folder, _composed.side(tower), video=False)
    shape = tuple(config.get("pooling_shape", _SHAPE))
    return Blueprint(
        towers=({**tower, "mean": pixels.mean, "std": pixels.std},),
        connector={
            "kind": "pool_mlp",
            "pool": "adaptive3d",
            "shape": shape,
            "order": "mlp_first",
            "bias": _composed.check_projector(config, where),
        },
        language=language,
        resolution=pixels.resolution,
        # A clip shorter than the pooled shape is stretched by repeating frames, as the authors do.
        frames=Uniform(count=max(int(config.get("num_frames", 1)), shape[0]), at="midpoints"),
        adapters=_adapters(stored(folder)),
    )


def with_alpha(blueprint: Blueprint, alpha: float) -> Blueprint:
    """The same model with its adapters scaled by alpha / rank.

    Raises:
        CheckpointError: If the model has no adapters.
    """
    if blueprint.adapters is None:
        raise CheckpointError("blueprint.adapters", "the checkpoint has no adapters", "leave alpha out")
    return blueprint.model_copy(update={"adapters": blueprint.adapters.model_copy(update={"alpha": alpha})})


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout, with or without adapters; see `_keys.rewrite`."""
    adapted = any(key.endswith(".lora_A.default.weight") for key in state)
    return rewrite(state, TO_HUB if adapted else _composed.TO_HUB, FAMILY)


def _adapters(tensors: Mapping[str, Stored]) -> LoRA | None:
    places = {key: match[1] for key in tensors if (match := _ADAPTER.fullmatch(key))}
    if not places:
        return None
    rank = tensors[next(iter(places))].shape[0]
    return LoRA(rank=rank, alpha=ALPHA, dropout=_DROPOUT, targets=tuple(sorted(set(places.values()))))
