"""LLaVA-NeXT-Video: frames of which 2 x 2 cells become one; stills are tiled as in LLaVA-NeXT.

Source: Zhang et al. 2024, "LLaVA-NeXT: A Strong Zero-shot Video Understanding Model", and transformers' port
of it, which averages before the projector as the models of April 2024 do; the authors' own files, whose code
pools behind the projector since August 2024 and has four places for the newline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError, nearest
from vidapt.hub import _anyres, _authors, _composed, llava_next
from vidapt.hub._preprocess import read_pixels
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Uniform

FAMILY = "llava_next_video"

TOKENS = "frames x 12 x 12 = 144 a frame; stills as in llava_next"
LICENCE = "Llama 2 community licence (Vicuna); Apache-2.0 (Mistral); Yi licence (34B)"

CLAIMS = (("llava_next_video", "LlavaNextVideoForConditionalGeneration"),)
"""(model_type, architecture) of the configurations this family opens."""

NARROWS = (*llava_next.NARROWS, ("llava_mistral", "LlavaMistralForCausalLM"))
"""Claims of another family that `narrows` takes over."""

RULES = _anyres.RULES

POOLS: Mapping[str, str] = {"average": "average", "max": "max", "bilinear": "bilinear"}
"""Published names of pooling to ours."""

NEWLINES: Mapping[str, str] = {"grid": "grid", "frame": "frame", "one_token": "one", "no_token": "none"}
"""Published names of where the newline stands to ours."""

POSITIONS = 4096
"""How many positions Vicuna, the language model of the published checkpoints, was trained for."""

_TEXT = 1000
"""Positions that the authors leave for the text."""


def narrows(config: Mapping[str, Any]) -> bool:
    """Whether an authors' configuration, of the same type as LLaVA-1.5's, pools videos."""
    return "mm_spatial_pool_mode" in config


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Sixteen frames stay within the 4096 positions the language model was trained for; `with_frames` makes room
    for more.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    tower, language = _anyres.tower_and_language(config, where)
    stills = _anyres.pixels_of_stills(config, folder, tower, llava_next.GRIDS)
    frames = read_pixels(folder, _composed.side(tower), video=True)
    llava_next.check_merging(config, where)
    _authors.check_video(config, where)
    rounding = "authors" if _authors.is_authors(config) else "hf"
    video = {key: frames.resolution[key] for key in ("fit", "filter") if key in frames.resolution}
    return Blueprint(
        towers=({**tower, "mean": frames.mean, "std": frames.std},),
        connector={"kind": "pool_mlp", "bias": _composed.check_projector(config, where)},
        language=language,
        resolution={**stills.resolution, "rounding": rounding},
        scenes={"video": {"kind": "framed", **video, **_pooling(config, where)}},
        frames=Uniform(count=16, at="endpoints", pad=False),
    )


def with_frames(blueprint: Blueprint, count: int) -> Blueprint:
    """The same model reading more frames, with its positions scaled linearly as the authors scale them.

    The factor is the smallest that makes room for the frames and a thousand positions of text, and applies
    from 2 on.

    Args:
        blueprint: Of a model whose language model was trained for `POSITIONS`.
        count: Frames per clip.

    Raises:
        CheckpointError: If the language model was trained for another number of positions.
    """
    trained = blueprint.language.get("max_position_embeddings", POSITIONS)
    if trained != POSITIONS:
        raise CheckpointError(
            "blueprint.language",
            f"was trained for {trained} positions",
            f"the rule is for {POSITIONS}; set positions.factor by hand",
        )
    factor = rope_factor(count, tokens_per_frame(blueprint))
    return blueprint.model_copy(
        update={
            "frames": blueprint.frames.model_copy(update={"count": count}),
            "positions": {"kind": "rope1d", "factor": float(factor)},
        }
    )


def rope_factor(frames: int, tokens: int) -> int:
    """Factor by which positions are divided for some frames of so many tokens each."""
    return max(1, math.ceil((frames * tokens + _TEXT) / POSITIONS))


def tokens_per_frame(blueprint: Blueprint) -> int:
    """Tokens of one frame of a video, without newlines."""
    arch, video = blueprint.towers[0]["arch"], blueprint.scenes["video"]
    side = arch.get("image_size", 224) // arch["patch_size"]
    stride = video.get("stride", 2)
    return int((math.ceil(side / stride) if video["pool"] == "bilinear" else max(1, side // stride)) ** 2)


habit, beside = _anyres.habit, _authors.beside


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the hub's layout; see `_anyres.to_hub`."""
    return _anyres.to_hub(state, FAMILY)


def to_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout; see `_authors.to_authors`."""
    return _authors.to_authors(state, FAMILY)


def _pooling(config: Mapping[str, Any], where: Path) -> Spec:
    if not _authors.is_authors(config):
        pool = _known("spatial_pool_mode", config.get("spatial_pool_mode", "average"), POOLS, where)
        stride = int(config.get("spatial_pool_stride", 2))
        return {"pool": pool, "stride": stride, "order": "pool_first", "newline": "none"}
    pool = _known("mm_spatial_pool_mode", config.get("mm_spatial_pool_mode", "average"), POOLS, where)
    # A pooling module of its own (`mm_resampler_type`) is what the models of April 2024 have.
    april = config.get("mm_resampler_type") == "spatial_pool"
    place = config.get("mm_newline_position", "no_token" if april else "one_token")
    return {
        "pool": pool,
        "stride": int(config.get("mm_spatial_pool_stride") or 2),
        "order": "pool_first" if april else "connector_first",
        "newline": _known("mm_newline_position", place, NEWLINES, where),
    }


def _known(field: str, value: Any, names: Mapping[str, str], where: Path) -> str:
    if value not in names:
        raise CheckpointError(where, f"{field} is {value!r}", nearest(str(value), names))
    return names[value]
