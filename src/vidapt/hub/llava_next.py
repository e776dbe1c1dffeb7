"""LLaVA-NeXT (LLaVA-1.6): a still as a whole view and up to four tiles, each row of whose map a newline ends.

Source: Liu et al. 2024, "LLaVA-NeXT: Improved reasoning, OCR, and world knowledge", transformers' port of it,
and the authors' own files (`image_aspect_ratio: anyres`, `mm_patch_merge_type: spatial_unpad`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _anyres, _authors, _composed
from vidapt.recipe import Blueprint
from vidapt.video.choose import Uniform

FAMILY = "llava_next"

TOKENS = "stills: 576 + unpadded tiles + one newline a row, 1176 to 2928; frames: 576 each"
LICENCE = "Llama 2 community licence (Vicuna); Apache-2.0 (Mistral); Yi licence (34B)"

CLAIMS = (
    ("llava_next", "LlavaNextForConditionalGeneration"),
    ("llava_mistral", "LlavaMistralForCausalLM"),
)
"""(model_type, architecture) of the configurations this family opens."""

NARROWS = (("llava", "LlavaLlamaForCausalLM"), ("llava_llama", "LlavaLlamaForCausalLM"))
"""Claims of another family that `narrows` takes over."""

RULES = _anyres.RULES

GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
"""(rows, columns) of tiles of the published models, in their order."""


def narrows(config: Mapping[str, Any]) -> bool:
    """Whether an authors' configuration of LLaVA-1.5's type tiles stills and does not pool videos."""
    return config.get("image_aspect_ratio") == "anyres" and "mm_spatial_pool_mode" not in config


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    tower, language = _anyres.tower_and_language(config, where)
    pixels = _anyres.pixels_of_stills(config, folder, tower, GRIDS)
    check_merging(config, where)
    rounding = "authors" if _authors.is_authors(config) else "hf"
    return Blueprint(
        towers=({**tower, "mean": pixels.mean, "std": pixels.std},),
        connector={"kind": "pool_mlp", "bias": _composed.check_projector(config, where)},
        language=language,
        resolution={**pixels.resolution, "rounding": rounding},
        # No footage was trained on; of a frame the whole view is read, and not up to 2928 tokens.
        scenes={"video": {"kind": "framed", "filter": "pillow"}},
        frames=Uniform(count=1, pad=False),
    )


def check_merging(config: Mapping[str, Any], where: Path) -> None:
    """Check that padding is cut off a map and that its rows end with the learned newline.

    Raises:
        CheckpointError: If tiles are merged in another way.
    """
    if not config.get("use_image_newline_parameter", True):
        raise CheckpointError(
            where, "use_image_newline_parameter is false", "only maps with newlines are known"
        )
    merge = config.get("mm_patch_merge_type", "spatial_unpad")
    if merge != "spatial_unpad":
        raise CheckpointError(where, f"mm_patch_merge_type is {merge!r}", "only 'spatial_unpad' is supported")


habit, beside = _anyres.habit, _authors.beside


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the hub's layout; see `_anyres.to_hub`."""
    return _anyres.to_hub(state, FAMILY)


def to_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout; see `_authors.to_authors`."""
    return _authors.to_authors(state, FAMILY)
