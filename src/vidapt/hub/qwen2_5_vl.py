"""Qwen2.5-VL: as Qwen2-VL, with a tower that looks through windows, and positions that count seconds.

Source: Bai et al. 2025, arXiv 2502.13923; the released configurations; transformers' `Qwen2_5_VLModel`. Which
frames are taken, and of what size, is as in Qwen2-VL.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Qwen2_5_VLTextConfig

from vidapt.hub import _qwen, qwen2_vl
from vidapt.hub._keys import rewrite
from vidapt.hub._prompts import Habit
from vidapt.recipe import Blueprint

FAMILY = "qwen2_5_vl"

TOKENS = qwen2_vl.TOKENS
LICENCE = "Apache-2.0 (7B, 32B), Qwen's own for research (3B) and of 72B"

CLAIMS = (("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"),)
"""(model_type, architecture) of the configurations this family opens."""

RULES = _qwen.RULES_2

_KINDS = dict.fromkeys((None, "qwen2_5_vl", "qwen2_5_vl_vision"), "qwen2_5_vl_vision")
"""Files of 2025 give the vision tower the whole model's type, or none."""

_PER_SECOND = 4
"""Positions for a second where the configuration does not say, as its class has it."""

agrees = _qwen.agrees_2
"""See there; `export` writes it down."""


def habit(config: Mapping[str, Any]) -> Habit:
    """The checkpoint's own template, which is the released one in all that are known."""
    return qwen2_vl.habit(config)


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`, flat (2025) or with a `text_config`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    arch = _qwen.vision(config, folder / "config.json", _KINDS)
    merge, common = _qwen.blocks(arch, 14)
    still, video = _qwen.settings(folder, "image"), _qwen.settings(folder, "video")
    return Blueprint(
        towers=({"kind": "qwen2_5_vit", "arch": arch, **_qwen.normalisation(still)},),
        connector={"kind": "merge_mlp", "stride": merge, "norm": "rms"},
        language=_qwen.language(config, "qwen2_5_vl_text", Qwen2_5_VLTextConfig),
        resolution={**common, **_qwen.limits(still, qwen2_vl.STILL), "kernel": "pillow"},
        scenes={"video": qwen2_vl.footage(video, common)},
        positions={"kind": "mrope", "per_second": float(arch.get("tokens_per_second", _PER_SECOND))},
        frames=qwen2_vl.frames(video),
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, _qwen.TO_HUB_2, FAMILY)
