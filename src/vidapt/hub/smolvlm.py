"""SmolVLM2: small SigLIP, cells joined 3 x 3 or 4 x 4, tiles with their places, frames with their times.

Source: Marafioti et al. 2025, "SmolVLM: Redefining small and efficient multimodal models" (arXiv 2504.05299),
and transformers' port of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import SmolVLMVisionConfig

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._preprocess import HALF, processor
from vidapt.hub._prompts import Habit
from vidapt.recipe import Blueprint, Prompt, Spec
from vidapt.resolutions._tile_grid import whole_tiles
from vidapt.video.choose import Every

FAMILY = "smolvlm"

TOKENS = "64 or 81 a tile: a still 1 to 17 tiles, footage one a frame, with marks and times as text"
LICENCE = "Apache-2.0"

CLAIMS = (("smolvlm", "SmolVLMForConditionalGeneration"),)
"""(model_type, architecture) of the configurations this family opens."""

RULES = (
    *_composed.RECOMPUTED,
    Rule(r"model\.vision_model\.(.*)", r"towers.0.net.\1"),
    Rule(r"model\.connector\.modality_projection\.proj\.(.*)", r"connector.mlp.0.\1"),
    Rule(r"model\.text_model\.(.*)", r"language.model.\1"),
    Rule(r"lm_head\.(.*)", r"language.lm_head.\1"),
)

TO_HUB = (
    Rule(r"towers\.0\.net\.(.*)", r"model.vision_model.\1"),
    Rule(r"connector\.mlp\.0\.(.*)", r"model.connector.modality_projection.proj.\1"),
    Rule(r"language\.model\.(.*)", r"model.text_model.\1"),
    Rule(r"language\.lm_head\.(.*)", r"lm_head.\1"),
)
"""Our names to theirs."""

_AROUND, _WHOLE = "<fake_token_around_image>", "<global-img>"

MARKS = {
    "whole": (f"{_AROUND}{_WHOLE}", _AROUND),
    "tile": f"{_AROUND}<row_{{row}}_col_{{column}}>",
    "row_end": "\n",
    "tiles_end": "\n",
}
"""What is written around the tiles of a still."""

TIMES = {
    "video": {
        "intro": (
            " You are provided the following series of {frames_in_words} frames from a {length_clock} "
            "[H:MM:SS] video.\n"
        ),
        "before": f"\nFrame from {{clock}}:{_AROUND}{_WHOLE}",
        "after": _AROUND,
        "outro": "\n\n",
    }
}
"""What is written around footage and its frames.

The space in front is that of the turn (see `PROMPT`), which becomes one token with the word behind it. A
video that is not the first of its turn is read with it, too, in which one token differs from the original.
"""

PROMPT = Prompt(
    start="<|im_start|>",
    system="<|im_start|>System: {text}<end_of_utterance>\n",
    user="User: {text}<end_of_utterance>\n",
    sighted="User:{text}<end_of_utterance>\n",
    opening="Assistant:",
    answer=" {text}",
    end="<end_of_utterance>\n",
)
"""The released chat template, which leaves out the space in front of an image, but not of a video."""

_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for filters."""

_TILE, _SIZE = 364, 4 * 364
"""Sides where no file says otherwise."""

_RATE, _FRAMES = 1.0, 64


def habit(config: Mapping[str, Any]) -> Habit:
    """All checkpoints have one template, which is no text in front of every turn; see `PROMPT`."""
    del config
    return Habit(template="never", only=PROMPT)


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    arch = _arch(config, where)
    file, stills = processor(folder, "image")
    _, footage = processor(folder, "video")
    footage = footage or stills
    sampling = footage.get("video_sampling") or {}
    return Blueprint(
        towers=(
            {
                "kind": "siglip_navit",
                "arch": arch,
                "compat": "exact",
                "mean": tuple(stills.get("image_mean", HALF)),
                "std": tuple(stills.get("image_std", HALF)),
            },
        ),
        connector={
            "kind": "pixel_shuffle",
            "stride": int(config.get("scale_factor", 2)),
            "norm": False,
            "depth": 1,
            "bias": False,
        },
        language=_language(config, where),
        resolution=_tiles(stills, file, int(arch["image_size"])),
        scenes={"video": _whole(footage.get("size") or sampling.get("video_size"))},
        times=TIMES,
        frames=Every(
            rate=float(sampling.get("fps") or footage.get("fps") or _RATE),
            cap=int(sampling.get("max_frames") or footage.get("num_frames") or _FRAMES),
            at="endpoints",
            compat="published_ends_off",
        ),
    )


def _tiles(fields: Mapping[str, Any], file: Path, side: int) -> Spec:
    """How stills are cut, for a tower that sees squares of `side` pixels."""
    tile = _longest(fields.get("max_image_size"), _TILE)
    if fields and tile != side:
        raise CheckpointError(
            file, f"tiles of {tile} pixels for a tower of {side}", "the two files are of two models"
        )
    longest = _longest(fields.get("size"), _SIZE)
    rows, columns = whole_tiles((longest, longest), side)
    divided = fields.get("do_image_splitting", True)
    return {
        "kind": "tiles",
        "longest": longest,
        "most": rows // side * (columns // side) if divided else 1,
        "filter": _filter(fields, file),
        **MARKS,
    }


def _whole(size: Any) -> Spec:
    """How frames are cut. Video processors have torch's filters only, and its bicubic one for Lanczos'."""
    return {
        "kind": "tiles",
        "longest": _longest(size, _SIZE),
        "most": 1,
        "filter": "bicubic",
        "kernel": "torch",
    }


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)


def _arch(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The tower's configuration as SigLIP's, with SmolVLM's values for what it leaves out."""
    given = config.get("vision_config")
    if not isinstance(given, dict):
        raise CheckpointError(where, "has no `vision_config`", "fetch config.json again")
    known = _composed.cleaned(SmolVLMVisionConfig().to_dict())
    fields = {**known, **{name: value for name, value in given.items() if name in known}}
    return {**fields, "model_type": "siglip_vision_model"}


def _language(config: Mapping[str, Any], where: Path) -> Spec:
    spec = _composed.language(config, where)
    return {"rms_norm_eps": 1e-5, **spec} if spec["model_type"] == "llama" else spec


def _longest(size: Any, default: int) -> int:
    return int((size or {}).get("longest_edge") or default)


def _filter(fields: Mapping[str, Any], where: Path) -> str:
    resample = fields.get("resample", 1)
    if resample not in _FILTERS or not fields.get("do_resize", True):
        raise CheckpointError(where, f"resample {resample!r} cannot be reproduced", "known: 1, 2 and 3")
    return _FILTERS[resample]
