"""LLaVA-NeXT-Interleave: many stills, frames and views in one conversation, each seen whole.

Source: Li et al. 2024, "LLaVA-NeXT-Interleave: Tackling Multi-image, Video, and 3D in Large Multimodal
Models" (arXiv 2407.07895), and its port to transformers, which uses LLaVA's class with SigLIP and Qwen.
Frames are not pooled: the paper found no gain in more, smaller frames.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _anyres, _authors, _composed
from vidapt.hub._keys import rewrite
from vidapt.hub._preprocess import HALF, Pixels, read_pixels
from vidapt.nouns import MEDIA, Sample
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Uniform

FAMILY = "llava_interleave"

TOKENS = "27 x 27 = 729 for every still and frame"
LICENCE = "Tongyi Qianwen licence; research use"

CLAIMS: tuple[tuple[str, str], ...] = ()
"""This family has no type of its own; see `NARROWS`."""

NARROWS = (
    ("llava", "LlavaForConditionalGeneration"),
    ("llava_qwen", "LlavaQwenForCausalLM"),
    ("llava", "LlavaQwenForCausalLM"),
)
"""Claims of another family that `narrows` takes over."""

RULES = (*_composed.RECOMPUTED, _composed.NEWLINE, *_authors.RULES, *_composed.HUB)

MARKER = "<image>"
"""What stands in the text where a clip was mentioned that is read in front of it."""


def narrows(config: Mapping[str, Any]) -> bool:
    """Whether a configuration of LLaVA's class joins SigLIP and Qwen, or an authors' one tiles no still."""
    if _authors.is_authors(config):
        return config.get("image_aspect_ratio") == "pad"
    kinds = {"vision_config": "siglip_vision_model", "text_config": "qwen2"}
    inner = {part: config.get(part) for part in kinds}
    return all(isinstance(given, dict) and given.get("model_type") == kinds[p] for p, given in inner.items())


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
    pixels = _padded(config, where) if _authors.is_authors(config) else _prepared(folder, tower)
    return Blueprint(
        towers=({**tower, "mean": pixels.mean, "std": pixels.std},),
        connector={"kind": "pool_mlp", "bias": _composed.check_projector(config, where)},
        language=language,
        resolution=pixels.resolution,
        frames=Uniform(count=16, at="endpoints", pad=False),
    )


habit, beside = _anyres.habit, _authors.beside


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the hub's layout; see `_keys.rewrite`."""
    return rewrite(state, _composed.TO_HUB, FAMILY)


def to_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout; see `_authors.to_authors`."""
    return _authors.to_authors(state, FAMILY)


def _prepared(folder: Path, tower: Spec) -> Pixels:
    """As the hub's processor files say."""
    pixels = read_pixels(folder, _composed.side(tower), video=False)
    if pixels.resolution["filter"] != "bicubic":
        return pixels
    return replace(pixels, resolution={**pixels.resolution, "filter": "pillow"})


def _padded(config: Mapping[str, Any], where: Path) -> Pixels:
    """As the authors' code does: padded to a square in SigLIP's mean colour, without a newline."""
    merge = config.get("mm_patch_merge_type", "flat")
    if merge != "flat":
        raise CheckpointError(where, f"mm_patch_merge_type is {merge!r}", "padded stills are known as 'flat'")
    colour = [int(255 * channel) for channel in HALF]
    return Pixels({"kind": "pad", "colour": colour, "filter": "pillow"}, HALF, HALF)


def place(sample: Sample, how: Literal["front", "in_place", "mixed"], seed: int = 0) -> Sample:
    """Say where a conversation's clips are read.

    The published models were trained on a mix, which beat either way alone.

    Args:
        sample: Its turns mark where each clip is mentioned.
        how: `front` reads all clips before the first user turn and leaves `MARKER` where they were mentioned;
            `in_place` reads each where it is mentioned; `mixed` draws one of the two per sample.
        seed: Of the draw, which also depends on the sample's id.
    """
    if how == "mixed":
        how = random.Random(f"{seed} {sample.id}").choice(("front", "in_place"))
    marks = sum(turn.text.count(MEDIA) for turn in sample.turns)
    if how == "in_place" or not marks:
        return sample
    turns = [replace(turn, text=turn.text.replace(MEDIA, MARKER)) for turn in sample.turns]
    first = next(index for index, turn in enumerate(turns) if turn.role == "user")
    turns[first] = replace(turns[first], text=MEDIA * marks + turns[first].text)
    return replace(sample, turns=tuple(turns))
