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

from vidapt.hub import _qwen
from vidapt.hub._keys import rewrite
from vidapt.hub._prompts import CHATML, Habit
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Every

FAMILY = "qwen2_vl"

TOKENS = "frames / 2 (rounded up) x h / 28 x w / 28, after both sides are brought to multiples of 28"
LICENCE = "Apache-2.0 (2B, 7B)"

CLAIMS = (("qwen2_vl", "Qwen2VLForConditionalGeneration"),)
"""(model_type, architecture) of the configurations this family opens."""

RULES = _qwen.RULES_2

_KINDS = dict.fromkeys((None, "qwen2_vl", "qwen2_vl_vision"), "qwen2_vl_vision")
"""Files of 2024 give the vision tower the whole model's type, or none."""

PROMPT = CHATML.model_copy(update={"media": "<|vision_start|>{media}<|vision_end|>"})
"""The released chat template."""

_BLOCK = 28 * 28
"""Pixels that become one token."""

STILL = (4 * _BLOCK, 1280 * _BLOCK)
VIDEO = (128 * _BLOCK, 768 * _BLOCK)
"""Least and most pixels of a frame where no file says otherwise."""

_VIDEO_TOKENS, _VIDEO_SHARE = 128_000, 0.9
"""The context the released limits assume, and how much of it a video may take."""

agrees = _qwen.agrees_2
"""See there; `export` writes it down."""


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
    arch = _qwen.vision(config, folder / "config.json", _KINDS)
    merge, common = _qwen.blocks(arch, 14)
    still, video = _qwen.settings(folder, "image"), _qwen.settings(folder, "video")
    return Blueprint(
        towers=({"kind": "qwen2_vit", "arch": arch, **_qwen.normalisation(still)},),
        connector={"kind": "merge_mlp", "stride": merge},
        language=_qwen.language(config, "qwen2_vl_text", Qwen2VLTextConfig),
        resolution={**common, **_qwen.limits(still, STILL), "kernel": "pillow"},
        scenes={"video": footage(video, common)},
        positions={"kind": "mrope"},
        frames=frames(video),
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, _qwen.TO_HUB_2, FAMILY)


def footage(fields: Mapping[str, Any], common: Spec) -> Spec:
    """The resolution for videos: limits of each frame, and an even share of one total.

    Args:
        fields: Of the video processor's file.
        common: Fields that stills have, too.
    """
    spec = {**common, **_qwen.limits(fields, VIDEO), "kernel": "torch"}
    if fields.get("cap_pixels_per_frame") is False:
        return spec
    tokens = int(fields.get("max_video_tokens") or _VIDEO_TOKENS)
    return {**spec, "total_pixels": int(tokens * common["factor"] ** 2 * _VIDEO_SHARE)}


def frames(fields: Mapping[str, Any]) -> Every:
    """Which frames are taken, as the video processor's file and qwen-vl-utils say."""
    return Every(
        rate=fields.get("fps") or 2.0,
        cap=fields.get("max_frames") or 768,
        at="endpoints",
        least=fields.get("min_frames") or 4,
        compat="published",
    )
