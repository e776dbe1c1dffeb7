"""Qwen2-VL: frames at close to their own size, pairs of frames, 2 x 2 cells a token, positions of three axes.

Source: Wang et al. 2024, arXiv 2409.12191; the released configurations; qwen-vl-utils for which frames are
taken, and for the limits of videos, which the released processor files of 2024 do not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Qwen2VLTextConfig

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._preprocess import Kind, filter_of, processor
from vidapt.hub._prompts import CHATML, Habit
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Every

FAMILY = "qwen2_vl"

TOKENS = "frames / 2 (rounded up) x h / 28 x w / 28, after both sides are brought to multiples of 28"
LICENCE = "Apache-2.0 (2B, 7B)"

CLAIMS = (("qwen2_vl", "Qwen2VLForConditionalGeneration"),)
"""(model_type, architecture) of the configurations this family opens."""

RULES = (
    *_composed.RECOMPUTED,
    Rule(r".*\.rotary_pos_emb\.inv_freq", None, "computed from the configuration"),
    Rule(r"(?:model\.)?visual\.merger\.ln_q\.(.*)", r"connector.norm.\1"),
    Rule(r"(?:model\.)?visual\.merger\.mlp\.([02]\..*)", r"connector.mlp.\1"),
    Rule(r"(?:model\.)?visual\.((?:patch_embed|blocks)\..*)", r"towers.0.net.\1"),
    Rule(r"model\.(?:language_model\.)?((?:embed_tokens|layers|norm)\..*)", r"language.model.\1"),
    Rule(r"lm_head\.(.*)", r"language.lm_head.\1"),
)
"""The hub's layout, which transformers also saves, and the one in memory since transformers 5."""

TO_HUB = (
    Rule(r"connector\.norm\.(.*)", r"visual.merger.ln_q.\1"),
    Rule(r"connector\.mlp\.([02]\..*)", r"visual.merger.mlp.\1"),
    Rule(r"towers\.0\.net\.(.*)", r"visual.\1"),
    Rule(r"language\.((?:model|lm_head)\..*)", r"\1"),
)
"""Our names to the hub's layout."""

PROMPT = CHATML.model_copy(update={"media": "<|vision_start|>{media}<|vision_end|>"})
"""The released chat template."""

_BLOCK = 28 * 28
"""Pixels that become one token."""

_STILL = (4 * _BLOCK, 1280 * _BLOCK)
_VIDEO = (128 * _BLOCK, 768 * _BLOCK)
"""Least and most pixels of a frame where no file says otherwise."""

_VIDEO_TOKENS, _VIDEO_SHARE = 128_000, 0.9
"""The context the released limits assume, and how much of it a video may take."""


def habit(config: Mapping[str, Any]) -> Habit:
    """The checkpoint's own template, which is the released one in all that are known."""
    del config
    return Habit(own={"chatml": PROMPT})


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`, flat (2024) or with a `text_config`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    arch = _vision(config, where)
    merge, slices = int(arch.get("spatial_merge_size", 2)), int(arch.get("temporal_patch_size", 2))
    factor = int(arch.get("patch_size", 14)) * merge
    still, video = _settings(folder, "image"), _settings(folder, "video")
    common = {"kind": "native", "factor": factor, "frames_per_slice": slices}
    normalise = {name: tuple(still[f"image_{name}"]) for name in ("mean", "std") if f"image_{name}" in still}
    return Blueprint(
        towers=({"kind": "qwen2_vit", "arch": arch, **normalise},),
        connector={"kind": "merge_mlp", "stride": merge},
        language=_language(config),
        resolution={**common, **_limits(still, _STILL), "kernel": "pillow"},
        scenes={
            "video": {**common, **_limits(video, _VIDEO), **_total(video, factor), "kernel": "torch"},
        },
        positions={"kind": "mrope"},
        frames=Every(
            rate=video.get("fps") or 2.0,
            cap=video.get("max_frames") or 768,
            at="endpoints",
            least=video.get("min_frames") or 4,
            compat="published",
        ),
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)


def _vision(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The vision tower's configuration; files of 2024 give it the whole model's type, or none."""
    arch = config.get("vision_config")
    if not isinstance(arch, dict):
        raise CheckpointError(where, "has no `vision_config`", "fetch config.json again")
    kind = arch.get("model_type", "qwen2_vl")
    if kind not in ("qwen2_vl", "qwen2_vl_vision"):
        raise CheckpointError(where, f"vision_config is of model_type {kind!r}", "known: qwen2_vl_vision")
    return {**_composed.cleaned(arch), "model_type": "qwen2_vl_vision"}


def _language(config: Mapping[str, Any]) -> Spec:
    """The text model's configuration; files of 2024 hold it flat among the rest."""
    text = config.get("text_config")
    if not isinstance(text, dict):
        text = _composed.flat_language(config, Qwen2VLTextConfig)
    tied = bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings"))
    return {**_composed.cleaned(text), "model_type": "qwen2_vl_text", "tie_word_embeddings": tied}


def _settings(folder: Path, kind: Kind) -> dict[str, Any]:
    """What the processor files say about stills or videos; empty if there are none.

    Raises:
        CheckpointError: If frames are prepared in a way the resolution does not offer.
    """
    where, fields = processor(folder, kind)
    if filter_of(fields, where) != "bicubic":
        raise CheckpointError(where, f"resample is {fields['resample']!r}", "known: 3 bicubic")
    return fields


def _limits(fields: Mapping[str, Any], default: tuple[int, int]) -> Spec:
    """Least and most pixels of a frame."""
    size = fields.get("size") or {}
    least = fields.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels") or default[0]
    most = fields.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels") or default[1]
    return {"min_pixels": int(least), "max_pixels": int(most)}


def _total(fields: Mapping[str, Any], factor: int) -> Spec:
    """Pixels of a whole video, unless a file says that there is no such limit."""
    if fields.get("cap_pixels_per_frame") is False:
        return {}
    tokens = int(fields.get("max_video_tokens") or _VIDEO_TOKENS)
    return {"total_pixels": int(tokens * factor**2 * _VIDEO_SHARE)}
