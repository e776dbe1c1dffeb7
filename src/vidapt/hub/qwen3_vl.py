"""Qwen3-VL: pairs of frames with their times as text, and what inner layers see added deeper down.

Source: Bai et al. 2025, arXiv 2511.21631; the released configurations; transformers' `Qwen3VLModel` and its
processors, for which frames are taken and of what size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _experts, _qwen
from vidapt.hub._experts import Made
from vidapt.hub._files import Stored
from vidapt.hub._keys import rewrite
from vidapt.hub._prompts import Habit
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Every

FAMILY = "qwen3_vl"

TOKENS = (
    "frames / 2 (rounded up) x (h / 32 x w / 32 + 2 + about 7 of its time), after both sides are brought to "
    "multiples of 32"
)
LICENCE = "Apache-2.0"

CLAIMS = (
    ("qwen3_vl", "Qwen3VLForConditionalGeneration"),
    ("qwen3_vl_moe", "Qwen3VLMoeForConditionalGeneration"),
)
"""(model_type, architecture) of the configurations this family opens."""

RULES = _qwen.RULES_3

_TOWER = "qwen3_vl_vision"
_KINDS = dict.fromkeys((None, "qwen3_vl", "qwen3_vl_moe", _TOWER, "qwen3_vl_moe_vision"), _TOWER)
"""The tower of mixtures of experts is the same; early files give it the whole model's type."""

_LEVELS = (8, 16, 24)
"""Layers whose states go in deeper down where the configuration does not say, as its class has it."""

_BLOCK = 32 * 32
_STILL = (64 * _BLOCK, 16384 * _BLOCK)
_VIDEO = (128 * _BLOCK, 768 * _BLOCK)
"""Least and most pixels of a still, and of all frames of a video, where no file says otherwise."""

_FRAME_TOKENS = 768
"""Tokens of a frame at most where a processor caps frames and does not say at how many."""

agrees = _qwen.agrees_3
"""See there; `export` writes it down."""


def habit(config: Mapping[str, Any]) -> Habit:
    """The checkpoint's own template, without marks around media: these stand in the blueprint's `times`."""
    del config
    return Habit(own={"chatml": _qwen.PROMPT_3}, bare=True)


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    arch = _qwen.vision(config, folder / "config.json", _KINDS)
    levels = tuple(arch.pop("deepstack_visual_indexes", _LEVELS))
    kind = "qwen3_vl_moe_text" if config.get("model_type") == "qwen3_vl_moe" else "qwen3_vl_text"
    return described(arch, levels, text(config, kind, folder), folder)


def gathered(tensors: Mapping[str, Stored], config: Mapping[str, Any]) -> dict[str, Made]:
    """Experts of a mixture as whole tensors, however they are stored; see `_experts.gathered`."""
    return _experts.gathered(tensors, int((config.get("text_config") or {}).get("hidden_size", 0)))


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(_experts.turned(state), _qwen.TO_HUB_3, FAMILY)


def described(arch: dict[str, Any], levels: tuple[int, ...], language: Spec, folder: Path) -> Blueprint:
    """A model of Qwen3-VL's kind.

    Args:
        arch: Configuration of the tower.
        levels: Its layers whose states are added behind the first layers of the language model.
        language: Configuration of the language model.
        folder: Where the processor files lie.
    """
    merge, common = _qwen.blocks(arch, 16)
    still, video = _qwen.settings(folder, "image"), _qwen.settings(folder, "video")
    tower = {"kind": "qwen3_vit", "arch": arch, "levels": list(levels), **_qwen.normalisation(still)}
    depths = list(range(len(levels)))
    return Blueprint(
        towers=(tower,),
        connector={"kind": "merge_mlp", "stride": merge, "depths": depths},
        language=language,
        resolution={**common, **_qwen.limits(still, _STILL), "kernel": "pillow"},
        scenes={"video": _footage(video, common)},
        positions={"kind": "mrope"},
        times=_qwen.TIMES_3,
        frames=Every(
            rate=video.get("fps") or 2.0,
            cap=video.get("max_frames") or 768,
            at="endpoints",
            least=video.get("min_frames") or 4,
            compat="published_evenly",
        ),
    )


def text(config: Mapping[str, Any], kind: str, folder: Path) -> Spec:
    """Configuration of the language model.

    Raises:
        CheckpointError: If there is none, or it is of another type.
    """
    found = (config.get("text_config") or {}).get("model_type", kind)
    if not isinstance(config.get("text_config"), dict) or found != kind:
        told = (
            f"`text_config` is of model_type {found!r}"
            if config.get("text_config")
            else "has no `text_config`"
        )
        raise CheckpointError(folder / "config.json", told, f"known: {kind}")
    return _qwen.language(config, kind)


def _footage(fields: Mapping[str, Any], common: Spec) -> Spec:
    """The resolution for videos: limits over the clip, and over each frame where the processor says so."""
    spec = {**common, **_qwen.limits(fields, _VIDEO), "over": "clip", "kernel": "torch"}
    if not fields.get("cap_pixels_per_frame"):
        return spec
    return {
        **spec,
        "frame_pixels": int(fields.get("max_video_tokens") or _FRAME_TOKENS) * common["factor"] ** 2,
    }
