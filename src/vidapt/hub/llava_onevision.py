"""LLaVA-OneVision: SigLIP; up to 36 tiles of a still, one view of each of several stills, small frames.

Source: Li et al. 2024, arXiv 2408.03326; transformers' port of it; the authors' own files, among them those
of LLaVA-Video (arXiv 2410.02713), which differ in where the newline stands in a video.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _anyres, _authors, _composed, llava_next
from vidapt.hub.llava_next_video import NEWLINES, POOLS
from vidapt.recipe import Blueprint
from vidapt.video.choose import Every, Policy, Uniform

FAMILY = "llava_onevision"

TOKENS = "still: 729 + tiles, shrunk, with newlines (1485 to 8686); several: 730 each; frames: 196 each + 1"
LICENCE = "Apache-2.0"

CLAIMS = (
    ("llava_onevision", "LlavaOnevisionForConditionalGeneration"),
    ("llava_qwen", "LlavaQwenForCausalLM"),
    ("llava", "LlavaQwenForCausalLM"),
)
"""(model_type, architecture) of the configurations this family opens."""

RULES = _anyres.RULES

GRIDS = tuple((rows, columns) for rows in range(1, 7) for columns in range(1, 7))
"""(rows, columns) of tiles of the published models, in their order."""


_FRAMES = 32


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Stills and videos are normalised by the image processor's statistics: SigLIP knows only one kind, whatever
    a video processor's defaults are.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    authors = _authors.is_authors(config)
    tower, language = _anyres.tower_and_language(config, where)
    stills = _anyres.pixels_of_stills(config, folder, tower, GRIDS)
    llava_next.check_merging(config, where)
    _authors.check_video(config, where)
    pool, place = config.get("mm_spatial_pool_mode") or "bilinear", config.get("mm_newline_position")
    if pool not in POOLS or (place or "one_token") not in NEWLINES:
        raise CheckpointError(
            where,
            f"mm_spatial_pool_mode is {pool!r} and mm_newline_position {place!r}",
            f"known: {', '.join(POOLS)}; {', '.join(NEWLINES)}",
        )
    return Blueprint(
        towers=({**tower, "mean": stills.mean, "std": stills.std},),
        connector={"kind": "pool_mlp", "bias": _composed.check_projector(config, where)},
        language=language,
        resolution={
            **stills.resolution,
            "most_tiles": _most_tiles(config, where),
            "rounding": "authors" if authors else "hf",
        },
        scenes={
            "images": {
                "kind": "framed",
                "fit": "pad",
                "colour": [int(255 * channel) for channel in stills.mean],
                "filter": "pillow",
                "newline": "one",
            },
            "video": {"kind": "framed", "pool": POOLS[pool], "newline": NEWLINES[place or "one_token"]},
        },
        frames=_frames(config),
    )


def _frames(config: Mapping[str, Any]) -> Policy:
    """Evenly chosen frames; where the model was told otherwise, one a second while they are not too many."""
    if config.get("force_sample", True):
        return Uniform(count=_FRAMES, at="endpoints", pad=False)
    return Every(rate=1.0, cap=_FRAMES, at="endpoints")


def _most_tiles(config: Mapping[str, Any], where: Path) -> int | None:
    """Limit of `anyres_max_9`; None for `anyres`, which has none."""
    ratio = config.get("vision_aspect_ratio") or config.get("image_aspect_ratio") or "anyres_max_9"
    limit = re.fullmatch(r"anyres(?:_max_([1-9]\d*))?", ratio)
    if limit is None:
        raise CheckpointError(
            where, f"the aspect ratio is {ratio!r}", "known: anyres, anyres_max_9 and so on"
        )
    return int(limit[1]) if limit[1] else None


habit, beside = _anyres.habit, _authors.beside


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the hub's layout; see `_anyres.to_hub`."""
    return _anyres.to_hub(state, FAMILY)


def to_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout; see `_authors.to_authors`."""
    return _authors.to_authors(state, FAMILY)
