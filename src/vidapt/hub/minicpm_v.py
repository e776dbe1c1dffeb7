"""MiniCPM-V 2.6: adaptive slices, SigLIP in their own proportions, 64 tokens for each, Qwen2.

Source: Yao et al. 2024, "MiniCPM-V: A GPT-4V Level MLLM on Your Phone" (arXiv 2408.01800), and the authors'
files for version 2.6. Version 4.5 (`minicpm_v_4_5`) goes by the same names in `config.json`; others do, too,
but divide, mark or number images otherwise, and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._preprocess import HALF, processor
from vidapt.hub._prompts import CHATML, Habit
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Every, Policy

FAMILY = "minicpm_v"

TOKENS = "64 x (1 + slices) an image, at most 640; 64 to 192 a frame of footage"
LICENCE = "MiniCPM model licence: free for research, and for commerce after registering"

CLAIMS = (("minicpmv", "MiniCPMV"),)
"""(model_type, architecture) of the configurations this family opens."""

VERSION = 2.6

PROMPT = CHATML.model_copy(
    update={"user": "\n<|im_start|>user\n{text}<|im_end|>\n", "opening": "<|im_start|>assistant\n"}
)
"""ChatML, as the checkpoint's own chat template writes it; an image stands on a line of its own."""

RULES = (
    *_composed.RECOMPUTED,
    Rule(r"llm\.(.*)", r"language.\1"),
    Rule(r"vpm\.(.*)", r"towers.0.net.\1"),
    Rule(r"resampler\.(.*)", r"connector.\1"),
)

TO_HUB = (
    Rule(r"language\.((?:model|lm_head)\..*)", r"llm.\1"),
    Rule(r"towers\.0\.net\.(.*)", r"vpm.\1"),
    Rule(r"connector\.(.*)", r"resampler.\1"),
)
"""Our names to theirs."""

_NOT_LANGUAGE = (
    "version",
    "model_type",
    "vision_config",
    "slice_config",
    "slice_mode",
    "query_num",
    "image_size",
    "patch_size",
    "drop_vision_last_layer",
    "batch_vision_input",
    "vision_batch_size",
    "use_image_id",
)
"""What stands in `config.json` beside the fields of Qwen2's configuration."""


_VIDEO_SLICES, _MANY, _SLICES_OF_MANY = 2, 16, 1
"""What the authors advise for video: two slices a frame, one where there are many frames."""


def habit(config: Mapping[str, Any]) -> Habit:
    """Every checkpoint is of one language model, whose template knows no images."""
    del config
    return Habit(only=PROMPT)


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    A still is an image with its number; a clip of several frames is, as the authors advise, as many images
    without numbers and with at most two slices each.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it is another version, or uses something vidapt has no part for.
    """
    where = folder / "config.json"
    _check_version(config, where)
    language = {
        **{key: value for key, value in _composed.cleaned(config).items() if key not in _NOT_LANGUAGE},
        "model_type": "qwen2",
    }
    most = {"max_slices": _VIDEO_SLICES, "many": _MANY, "max_slices_of_many": _SLICES_OF_MANY}
    return described(config, folder, language, most, Every(rate=1.0, cap=64, at="midpoints"))


def described(
    config: Mapping[str, Any], folder: Path, language: Spec, footage: Spec, frames: Policy
) -> Blueprint:
    """The model of a checkpoint of any version that is supported.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.
        language: Configuration of its language model.
        footage: How many slices the frames of footage have at most.
        frames: Which frames are read.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    if config.get("slice_mode", True) is not True:
        raise CheckpointError(where, "slice_mode is off", "only sliced images are supported")
    _, pixels = processor(folder, "image")
    arch = _arch(config, where)
    resolution = _resolution(config, pixels, int(arch.get("patch_size", 16)), where)
    most = min(int(footage["max_slices"]), resolution["max_slices"])
    video = {**resolution, "image_id": None, **footage, "max_slices": most}
    return Blueprint(
        towers=(
            {
                "kind": "siglip_navit",
                "arch": arch,
                "mean": pixels.get("norm_mean", HALF),
                "std": pixels.get("norm_std", HALF),
            },
        ),
        connector={"kind": "resampler", "queries": _queries(config, pixels, where)},
        language=language,
        resolution=resolution,
        scenes={"video": video},
        frames=frames,
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)


def _check_version(config: Mapping[str, Any], where: Path) -> None:
    if config.get("version") != VERSION:
        raise CheckpointError(
            where,
            f"is version {config.get('version')!r} of MiniCPM-V",
            f"{VERSION} and 4.5 are supported, and 4.6 in transformers' layout",
        )


def _arch(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The tower's configuration, with as many layers as the files hold."""
    section = config.get("vision_config")
    if not isinstance(section, dict):
        raise CheckpointError(where, "has no `vision_config`", "fetch config.json again")
    arch = {**_composed.cleaned(section), "model_type": "siglip_vision_model"}  # the files also say `siglip`
    # The authors build all layers and then take the last away, unless told not to, as 2.6 is.
    if config.get("drop_vision_last_layer", True):
        arch["num_hidden_layers"] = int(arch.get("num_hidden_layers", 12)) - 1
    return arch


def _resolution(config: Mapping[str, Any], pixels: Mapping[str, Any], patch: int, where: Path) -> Spec:
    slicing = {**(config.get("slice_config") or {}), **pixels}
    if int(slicing.get("patch_size", patch)) != patch:
        raise CheckpointError(
            where,
            f"patches of {patch} pixels, but images are cut for patches of {slicing['patch_size']}",
            "config.json and preprocessor_config.json are of two models; fetch both again",
        )
    numbered = pixels.get("use_image_id", config.get("use_image_id", True))
    return {
        "kind": "slices",
        "max_slices": int(slicing.get("max_slice_nums", 9)),
        "side": int(slicing.get("scale_resolution", 448)),
        "patch": patch,
        "image_id": _marks(pixels, "im_id", "image_id") if numbered else None,
        "image": _marks(pixels, "im", "image"),
        "cell": _marks(pixels, "slice", "slice"),
    }


def _marks(pixels: Mapping[str, Any], name: str, default: str) -> tuple[str, str]:
    start, end = pixels.get(f"{name}_start"), pixels.get(f"{name}_end")
    return str(start or f"<{default}>"), str(end or f"</{default}>")


def _queries(config: Mapping[str, Any], pixels: Mapping[str, Any], where: Path) -> int:
    queries = int(config.get("query_num", 64))
    if int(pixels.get("image_feature_size", queries)) != queries:
        raise CheckpointError(
            where,
            f"makes {queries} tokens of an image, preprocessor_config.json {pixels['image_feature_size']}",
            "the two files are of two models; fetch both again",
        )
    return queries
