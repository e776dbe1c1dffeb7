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

from vidapt.hub import _anyres, _composed
from vidapt.hub._keys import rewrite
from vidapt.hub._preprocess import read_pixels
from vidapt.nouns import MEDIA, Sample
from vidapt.recipe import Blueprint
from vidapt.video.choose import Uniform

FAMILY = "llava_interleave"

TOKENS = "27 x 27 = 729 for every still and frame"
LICENCE = "Tongyi Qianwen licence; research use"

CLAIMS: tuple[tuple[str, str], ...] = ()
"""This family has no type of its own; see `NARROWS`."""

NARROWS = (("llava", "LlavaForConditionalGeneration"),)
"""Claims of another family that `narrows` takes over."""

RULES = (*_composed.RECOMPUTED, _composed.NEWLINE, *_composed.HUB)

MARKER = "<image>"
"""What stands in the text where a clip was mentioned that is read in front of it."""


def narrows(config: Mapping[str, Any]) -> bool:
    """Whether a configuration of LLaVA's class joins SigLIP and Qwen."""
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
    tower, language = _composed.tower(config, where), _composed.language(config, where)
    pixels = read_pixels(folder, _composed.side(tower), video=False)
    resolution = dict(pixels.resolution)
    if resolution["filter"] == "bicubic":
        resolution["filter"] = "pillow"
    return Blueprint(
        towers=({**tower, "mean": pixels.mean, "std": pixels.std},),
        connector={"kind": "pool_mlp", "bias": _composed.check_projector(config, where)},
        language=language,
        resolution=resolution,
        frames=Uniform(count=16, at="endpoints", pad=False),
        prompt=_anyres.prompt(language, folder),
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, _composed.TO_HUB, FAMILY)


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
