"""LLaVA-NeXT-Video as published in April 2024: each frame averaged over 2 x 2 cells before the projector.

Source: Zhang et al. 2024, "LLaVA-NeXT: A Strong Zero-shot Video Understanding Model", and transformers'
port of it. Tiling of still images is not part of this family; an image is a clip of one frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._keys import Rule, rename
from vidapt.hub._preprocess import read_pixels
from vidapt.hub._prompts import prompt_for
from vidapt.recipe import Blueprint
from vidapt.video.choose import Uniform

FAMILY = "llava_next_video"

TOKENS = "frames x 12 x 12 = 144 a frame; stills as in llava_next"
LICENCE = "Llama 2 community licence (Vicuna); Apache-2.0 (Mistral); Yi licence (34B)"

CLAIMS = (("llava_next_video", "LlavaNextVideoForConditionalGeneration"),)
"""(model_type, architecture) of the configurations this family opens."""

CARRIED = ("image_newline",)
"""Tensors of the layout that videos do not use; `to_hub` needs them from the original files."""

RULES = (*_composed.RECOMPUTED, _composed.NEWLINE, *_composed.HUB)


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Sixteen frames stay within the 4096 positions the language model was trained for; more frames need
    `positions.factor`.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    mode = config.get("spatial_pool_mode", "average")
    if mode != "average":
        raise CheckpointError(where, f"spatial_pool_mode is {mode!r}", "only 'average' is supported")
    tower, language = _composed.tower(config, where), _composed.language(config, where)
    pixels = read_pixels(folder, _composed.side(tower), video=True)
    return Blueprint(
        towers=({**tower, "mean": pixels.mean, "std": pixels.std},),
        connector={
            "kind": "pool_mlp",
            "pool": "average",
            "stride": int(config.get("spatial_pool_stride", 2)),
            "order": "pool_first",
            "bias": _composed.check_projector(config, where),
        },
        language=language,
        resolution=pixels.resolution,
        frames=Uniform(count=16, at="endpoints", pad=False),
        prompt=prompt_for(language, folder),
    )


def rules(blueprint: Blueprint) -> tuple[Rule, ...]:
    """Key table from the checkpoint's names to ours."""
    del blueprint  # the names are the same for every size
    return RULES


def to_hub(state: Mapping[str, Tensor], carried: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Rename a model's tensors to the hub's layout.

    Args:
        state: `state_dict()` of a VideoLM of this family, adapters merged.
        carried: The tensors named in `CARRIED`, from the original checkpoint.

    Raises:
        CheckpointError: If a tensor has no place in that layout, or one of `CARRIED` is not given.
    """
    given = dict(carried or {})
    absent = [key for key in CARRIED if key not in given]
    if absent:
        raise CheckpointError(
            "state_dict", f"{', '.join(absent)} is not given", "take it from the original files"
        )
    names = rename(state, _composed.TO_HUB, "state_dict", FAMILY).names
    return {**{names[key]: tensor for key, tensor in state.items()}, **{key: given[key] for key in CARRIED}}
