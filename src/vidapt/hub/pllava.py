"""PLLaVA: all frames through the projector, then an adaptive average over time, height and width.

Source: Xu et al. 2024, "PLLaVA: Parameter-free LLaVA Extension from Images to Videos for Video Dense
Captioning" (arXiv 2404.16994, equation 2: pooling comes after the projector), and the authors' code. The
language model carries low-rank adapters on its query and value projections, trained with alpha 32 and
published for use with alpha 4; `with_alpha` sets another.

Its configuration class calls itself `llava`. What its training saves on the way (`pretrained_step0.2000M`)
holds the adapters and the projector only, unless DeepSpeed was used; the rest is that of the checkpoint
which `_name_or_path` names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._files import BASE, Stored, stored
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._preprocess import read_pixels
from vidapt.hub._prompts import CHATML, PLLAVA, Habit
from vidapt.models.folder import untied
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint, LoRA, Spec
from vidapt.video.choose import Uniform

FAMILY = "pllava"

TOKENS = "16 x 12 x 12 = 2304 (or the shape of its config, such as 16 x 8 x 8), however many frames"
LICENCE = "Llama 2 community licence (7B, 13B); Yi licence (34B)"

_CLASS = "PllavaForConditionalGeneration"

CLAIMS = (("pllava", _CLASS),)
"""(model_type, architecture) of the configurations this family opens."""

NARROWS = (("llava", _CLASS),)
"""The same where `narrows` says so: its configuration class has LLaVA's type."""

ALPHA = 4.0
"""The alpha of the authors' scripts for inference: a scale of 1/32 at their rank of 128."""

TARGETS = ("q_proj", "v_proj")
"""Layers that the authors' code adapts; it reads no adapters on others."""

_SHAPE = (16, 12, 12)
_DROPOUT = 0.05
_WRAPPED = r"language_model\.base_model\.model\."
_ADAPTER = re.compile(_WRAPPED + r".*\.(\w+)\.lora_A(?:\.default)?\.weight")
_TRAINED = re.compile(r".*\.lora_[AB]\..*|multi_modal_projector\..*")

_OWN = (
    *_composed.RECOMPUTED,
    _composed.NEWLINE,
    # Without peft's name of the adapter where peft wrote the file itself.
    Rule(_WRAPPED + r"(.*\.lora_[AB])\.weight", r"language.\1.default.weight"),
    Rule(_WRAPPED + r"(.*)", r"language.\1"),
    *_composed.HUB,
)

_UNDER = (
    Rule(BASE + r"(?:model\.)?multi_modal_projector\..*", None, "the folder's own projector replaces it"),
    *(Rule(BASE + rule.pattern, rule.target, rule.why) for rule in _OWN),
)
"""The same for the checkpoint that a folder of training lies on."""

RULES = (*_UNDER, *_OWN)
"""For models without adapters; `rules` knows those with."""

TO_HUB = (
    *_composed.TO_HUB[:-1],
    Rule(r"language\.(.*)", r"language_model.base_model.model.\1"),
)


_PLLAVA_34B = CHATML.model_copy(update={"start": "<|im_start|>system\nAnswer the question.<|im_end|>"})


def habit(config: Mapping[str, Any]) -> Habit:
    """The authors' scripts write conversations their own way; a template beside them is the base model's."""
    del config
    return Habit(template="never", own={"vicuna": PLLAVA, "yi": _PLLAVA_34B})


def narrows(config: Mapping[str, Any]) -> bool:
    """Whether a configuration of LLaVA's type is PLLaVA's."""
    return _CLASS in (config.get("architectures") or ()) or "pooling_shape" in config


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The key table of a checkpoint with these keys.

    peft calls the weight under an adapter `q_proj.base_layer.weight`, and called it `q_proj.weight` until
    2023; in a checkpoint that lies beneath it has the latter name too.
    """
    adapted = "|".join(_adapted(keys))
    if not adapted:
        return RULES
    layer = rf"(.*\.(?:{adapted}))\.(weight|bias)"
    places = (
        (_WRAPPED, "language."),
        (BASE + r"language_model\.", "language."),
        (BASE + r"model\.language_model\.", "language.model."),
    )
    return (*(Rule(old + layer, rf"{new}\1.base_layer.\2") for old, new in places), *RULES)


def is_partial(keys: Collection[str]) -> bool:
    """Whether these are the keys of what was trained only."""
    return all(map(_TRAINED.fullmatch, keys))


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint; the adapters' rank and places are read from the files.

    Frames are chosen and resized as by the authors' benchmarks, on which published numbers depend.

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
        resolution=_as_published(pixels.resolution),
        # A clip shorter than the pooled shape is stretched by repeating frames, as the authors do.
        frames=Uniform(count=max(int(config.get("num_frames", 1)), shape[0]), compat="published"),
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


def apart(model: VideoLM) -> dict[str, Tensor] | None:
    """The state of a model whose adapters stay apart when it is written, for use with the authors' alpha.

    No file of theirs tells alpha, so that of the model goes into the weights.

    Returns:
        None where there are no adapters, or such as the authors' code would not read: those are merged.
    """
    lora = model.blueprint.adapters
    if lora is None or set(lora.targets) != set(TARGETS) or model.blueprint.tower_adapters is not None:
        return None
    scale = lora.alpha / ALPHA
    return {key: t * scale if ".lora_B." in key else t for key, t in untied(model).items()}


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout, with or without adapters; see `_keys.rewrite`."""
    adapted = any(key.endswith(".lora_A.default.weight") for key in state)
    return rewrite(state, TO_HUB if adapted else _composed.TO_HUB, FAMILY, adapters=adapted)


def _as_published(resolution: Spec) -> Spec:
    """A resolution that crops, with the authors' two steps and the filter of their time."""
    if resolution.get("fit") != "crop" or resolution["filter"] != "bicubic":
        return resolution
    return {**resolution, "filter": "pillow", "compat": "published"}


def _adapted(keys: Collection[str]) -> list[str]:
    """Last names of the layers that have adapters."""
    return sorted({match[1] for key in keys if (match := _ADAPTER.fullmatch(key))})


def _adapters(tensors: Mapping[str, Stored]) -> LoRA | None:
    first = next((key for key in tensors if _ADAPTER.fullmatch(key)), None)
    if first is None:
        return None
    rank = tensors[first].shape[0]
    return LoRA(rank=rank, alpha=ALPHA, dropout=_DROPOUT, targets=tuple(_adapted(tensors)))
