"""MiniCPM-V 4.6: slices as in 2.6, a tower that merges windows on the way, 16 patches a token, Qwen3.5.

Source: transformers' port (`minicpmv4_6`) of the released model, and its processors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import MiniCPMV4_6VisionConfig

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._preprocess import HALF, filter_of, processor
from vidapt.hub._prompts import CHATML, Habit
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Every

FAMILY = "minicpm_v_4_6"

TOKENS = "about 64 x (1 + slices) a still, at most 640; footage as stills, a frame a second"
LICENCE = "Apache-2.0"

CLAIMS = (("minicpmv4_6", "MiniCPMV4_6ForConditionalGeneration"),)
"""(model_type, architecture) of the configurations this family opens."""

RULES = (
    *_composed.RECOMPUTED,
    Rule(r"mtp\..*", None, "predicts several words at once, which is not done here"),
    Rule(r"model\.vision_tower\.(.*)", r"towers.0.net.\1"),
    Rule(r"model\.merger\.mlp\.0\.pre_norm\.(.*)", r"connector.norm.\1"),
    Rule(r"model\.merger\.mlp\.0\.linear_1\.(.*)", r"connector.mlp.0.\1"),
    Rule(r"model\.merger\.mlp\.0\.linear_2\.(.*)", r"connector.mlp.2.\1"),
    Rule(r"model\.language_model\.(.*)", r"language.model.\1"),
    Rule(r"lm_head\.(.*)", r"language.lm_head.\1"),
)

TO_HUB = (
    Rule(r"towers\.0\.net\.(.*)", r"model.vision_tower.\1"),
    Rule(r"connector\.norm\.(.*)", r"model.merger.mlp.0.pre_norm.\1"),
    Rule(r"connector\.mlp\.0\.(.*)", r"model.merger.mlp.0.linear_1.\1"),
    Rule(r"connector\.mlp\.2\.(.*)", r"model.merger.mlp.0.linear_2.\1"),
    Rule(r"language\.model\.(.*)", r"model.language_model.\1"),
    Rule(r"language\.lm_head\.(.*)", r"lm_head.\1"),
)
"""Our names to theirs."""

_WINDOW = 2
"""Cells per side of a window of the tower, and of what becomes one token."""

_RATE, _FRAMES = 1.0, 128


def habit(config: Mapping[str, Any]) -> Habit:
    """The checkpoint's own template."""
    del config
    return Habit(own={"chatml": CHATML.model_copy(update={"media": "{media}"})})


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    tower = _tower(config, where)
    stills, footage = _settings(folder, "image"), _settings(folder, "video")
    mean, std = stills.get("image_mean", HALF), stills.get("image_std", HALF)
    if (footage.get("image_mean", mean), footage.get("image_std", std)) != (mean, std):
        raise CheckpointError(folder, "stills and videos are normalised differently", "fetch the files again")
    patch = int(tower["arch"]["patch_size"]) * _WINDOW * (_WINDOW if tower["merges"] else 1)
    numbered = bool(stills.get("use_image_id", True))
    return Blueprint(
        towers=({**tower, "mean": tuple(mean), "std": tuple(std)},),
        connector={"kind": "pixel_shuffle", "stride": _WINDOW, "eps": 1e-6, "hidden": "joined"},
        language=_composed.language(config, where),
        resolution=_slices(stills, patch, numbered=numbered),
        scenes={"video": {**_slices(footage, patch, numbered=numbered), "between": ""}},
        frames=Every(
            rate=_RATE,
            cap=int(footage.get("max_num_frames") or _FRAMES),
            at="endpoints",
            compat="published_seconds",
        ),
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)


def _tower(config: Mapping[str, Any], where: Path) -> Spec:
    """SigLIP's configuration, with MiniCPM's values for what it leaves out."""
    given = config.get("vision_config")
    if not isinstance(given, dict):
        raise CheckpointError(where, "has no `vision_config`", "fetch config.json again")
    mode = config.get("downsample_mode", "16x")
    known = {
        "merger_times": 1,
        "merge_kernel_size": [_WINDOW, _WINDOW],
        "drop_vision_last_layer": False,
    }
    for field, value in known.items():
        found = config.get(field, value)
        if (list(found) if isinstance(found, list | tuple) else found) != value:
            raise CheckpointError(where, f"{field} is {found!r}", f"only {value!r} is supported")
    if list(given.get("window_kernel_size", (_WINDOW, _WINDOW))) != [_WINDOW, _WINDOW] or mode not in (
        "16x",
        "4x",
    ):
        raise CheckpointError(
            where,
            f"downsample_mode is {mode!r}, window_kernel_size {given.get('window_kernel_size')!r}",
            "known: 16x, 4x; windows of 2 x 2",
        )
    defaults = _composed.cleaned(MiniCPMV4_6VisionConfig().to_dict())
    fields = {**defaults, **{name: value for name, value in given.items() if name in defaults}}
    behind = int(config.get("insert_layer_id", fields.pop("insert_layer_id")))
    arch = {name: fields[name] for name in fields if name not in ("insert_layer_id", "window_kernel_size")}
    return {
        "kind": "siglip_navit",
        "arch": {**arch, "model_type": "siglip_vision_model"},
        "compat": "divided",
        "merge_behind": behind,
        "merges": mode == "16x",
    }


def _settings(folder: Path, kind: Any) -> dict[str, Any]:
    """What the processor files say about stills or videos.

    Raises:
        CheckpointError: If frames are prepared in a way the resolution does not offer.
    """
    where, fields = processor(folder, kind)
    if filter_of(fields, where) != "bicubic":
        raise CheckpointError(where, f"resample is {fields['resample']!r}", "known: 3 bicubic")
    if fields.get("stack_frames", 1) not in (0, 1):
        raise CheckpointError(where, f"stack_frames is {fields['stack_frames']}", "only 1 is supported")
    return fields


def _slices(fields: Mapping[str, Any], unit: int, *, numbered: bool) -> Spec:
    most = int(fields.get("max_slice_nums") or 9)
    return {
        "kind": "slices",
        "max_slices": most if fields.get("slice_mode", True) else 1,
        "side": int(fields.get("scale_resolution") or 448),
        "patch": unit,
        "many": _FRAMES,
        "max_slices_of_many": most,
        "image_id": ("<image_id>", "</image_id>") if numbered else None,
    }
