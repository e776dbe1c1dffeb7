"""Ferret-v2: CLIP sees the whole picture, DINOv2 its tiles, each with an MLP of its own.

Source: Zhang et al. 2024, "Ferret-v2: An Improved Baseline for Referring and Grounding with Large Language
Models" (arXiv 2404.07973). **No weights and no code of it were ever published**, so there is no layout to
follow; the one described here is vidapt's own, for checkpoints trained with it or converted to it:

- `config.json`: `model_type: ferret_v2`, `architectures: [FerretV2ForCausalLM]`, and the transformers
  configurations `vision_config` (CLIP), `local_vision_config` (DINOv2) and `text_config`; optionally
  `image_grids` (a list of [rows, columns]), `vision_feature_layer` and `local_vision_feature_layer`;
- tensors: `vision_tower.*`, `local_vision_tower.*`, `mm_projector.{0,2}.*`, `local_mm_projector.{0,2}.*` and
  `language_model.*`, each by transformers' names. DINOv2's are read by its names of today and of before
  transformers 5, and written by today's.

What the paper leaves open: which layer of DINOv2 is read (here the last, normed) and how video is shown.
Here a frame of footage is not tiled, but DINOv2 looks at the whole of it. The region sampler, which answers
questions about a drawn shape, is not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._prompts import Habit
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Uniform

FAMILY = "ferret_v2"

TOKENS = "(1 + tiles) x 576 a frame at 336 pixels"
LICENCE = "no weights are published"

CLAIMS = (("ferret_v2", "FerretV2ForCausalLM"),)
"""(model_type, architecture) of the configurations this family opens."""

_LAYER = r"local_vision_tower\.encoder\.layer\.(\d+)\."
_OUR_LAYER = r"towers.1.net.encoder.layer.\1."

RULES = (
    *_composed.RECOMPUTED,
    Rule(rf"{_LAYER}attention\.attention\.query\.(.*)", rf"{_OUR_LAYER}attention.q_proj.\2"),
    Rule(rf"{_LAYER}attention\.attention\.key\.(.*)", rf"{_OUR_LAYER}attention.k_proj.\2"),
    Rule(rf"{_LAYER}attention\.attention\.value\.(.*)", rf"{_OUR_LAYER}attention.v_proj.\2"),
    Rule(rf"{_LAYER}attention\.output\.dense\.(.*)", rf"{_OUR_LAYER}attention.o_proj.\2"),
    Rule(r"local_vision_tower\.(.*)", r"towers.1.net.\1"),
    _composed.TOWER,
    Rule(r"mm_projector\.(.*)", r"connector.mlp_global.\1"),
    Rule(r"local_mm_projector\.(.*)", r"connector.mlp_local.\1"),
    _composed.LANGUAGE,
)

TO_HUB = (
    Rule(r"towers\.0\.net\.(.*)", r"vision_tower.\1"),
    Rule(r"towers\.1\.net\.(.*)", r"local_vision_tower.\1"),
    Rule(r"connector\.mlp_global\.(.*)", r"mm_projector.\1"),
    Rule(r"connector\.mlp_local\.(.*)", r"local_mm_projector.\1"),
    _composed.LANGUAGE_BACK,
)
"""Our names to that layout."""


def habit(config: Mapping[str, Any]) -> Habit:
    """A layout of vidapt's own: whatever the language model was trained with."""
    del config
    return Habit()


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    language = _composed.language(config, where)
    resolution: Spec = {"kind": "global_local"}
    if "image_grids" in config:
        resolution["grids"] = config["image_grids"]
    return Blueprint(
        towers=(_composed.tower(config, where), _local(config, where)),
        connector={"kind": "global_local", "bias": _composed.check_projector(config, where)},
        language=language,
        resolution=resolution,
        # Six tiles of every frame would be more than the language model has positions.
        scenes={"video": {"kind": "global_local", "grids": [[1, 1]]}},
        frames=Uniform(count=2, pad=False),
    )


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)


def _local(config: Mapping[str, Any], where: Path) -> Spec:
    arch = config.get("local_vision_config")
    if not isinstance(arch, dict):
        raise CheckpointError(where, "has no `local_vision_config`", "give the DINOv2 tower's configuration")
    layer = int(config.get("local_vision_feature_layer", -1))
    return {"kind": "dinov2", "arch": {"model_type": "dinov2", **_composed.cleaned(arch)}, "layer": layer}
