"""CLIP itself: every frame is seen alone, and the mean of the frames' vectors stands for the clip.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"
(arXiv 2103.00020), in the layout of transformers' `CLIPModel`. The mean over frames, of vectors brought to
unit length, is the pooling without parameters of CLIP4Clip (Luo et al. 2021, arXiv 2104.08860). Without a
configuration sizes are read from the tensors' shapes, and heads have 64 numbers as in every published CLIP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import CLIPConfig

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import _dual
from vidapt.hub._composed import cleaned
from vidapt.hub._keys import Rule, rename, rewrite
from vidapt.hub._preprocess import read_pixels
from vidapt.hub._report import LoadReport
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import Blueprint, Spec, Text

FAMILY = "clip"

TOKENS = "compares frames with texts; as a tower, frames x 196 patches (16 pixels at 224)"
LICENCE = "MIT (OpenAI)"

CLAIMS = (("clip", "CLIPModel"),)

PREFIX = r"(?:module\.)?(?:clipmodel\.)?"
"""What may stand in front of CLIP's names: what saves them from several devices, and CLIP-ViP's authors."""

_TABLE = "text.net.embeddings.position_embedding.weight"
_IN_TIME = r"embeddings\.(?:added_cls|temporal_embedding)"
"""What CLIP does not have."""


def vision_rules(prefix: str, place: str) -> tuple[Rule, ...]:
    """Key table of the vision tower.

    Args:
        prefix: Regular expression in front of transformers' names.
        place: Our name of the tower.
    """
    vision = rf"{prefix}{PREFIX}vision_model\."
    return (
        Rule(rf"{vision}embeddings\.position_ids", None, "0, 1, 2, ...; not learned"),
        Rule(rf"{vision}(?!{_IN_TIME})(.*)", rf"{place}.net.\1"),
    )


TEXT_RULES: tuple[Rule, ...] = (
    Rule(rf"{PREFIX}text_model\.embeddings\.position_ids", None, "0, 1, 2, ...; not learned"),
    Rule(rf"{PREFIX}text_model\.(.*)", r"text.net.\1"),
    Rule(rf"{PREFIX}((?:visual|text)_projection\.weight|logit_scale)", r"\1"),
)
"""Key table of the text tower, and of what joins both."""

RULES = (*vision_rules("", "tower"), *TEXT_RULES)


def vision_to_hub(prefix: str, place: str) -> tuple[Rule, ...]:
    """Key table of the vision tower, back to transformers' names.

    Args:
        prefix: What stands in front of them.
        place: Our name of the tower.
    """
    return (Rule(rf"{re.escape(place)}\.net\.(.*)", rf"{prefix}vision_model.\1"),)


def text_to_hub(prefix: str) -> tuple[Rule, ...]:
    """Key table of the text tower, and of what joins both, back to transformers' names.

    Args:
        prefix: What stands in front of them.
    """
    return (
        Rule(r"text\.net\.(.*)", rf"{prefix}text_model.\1"),
        Rule(r"((?:visual|text)_projection\.weight|logit_scale)", rf"{prefix}\1"),
    )


TO_HUB = (*vision_to_hub("", "tower"), *text_to_hub(""))


def open_dual_encoder(
    path: Path,
    *,
    dtype: torch.dtype | None = torch.float32,
    heads: _dual.Heads | None = None,
    edit: _dual.Edit | None = None,
) -> tuple[DualEncoder, LoadReport]:
    """Open image CLIP as a dual encoder for clips.

    Args:
        path: A folder as transformers saves it, or a `.pt` file of the same tensors. Frames are cut as the
            folder's processor says; without one, as CLIP's does.
        dtype: Number format of the weights in memory; None keeps each as it is stored.
        heads: How many the vision and the text tower have, where no configuration tells them; None: as
            many of 64 numbers as there is room for.
        edit: Changes the blueprint before the model is built, for instance its frames or how it pools.

    Returns:
        The model in evaluation mode, and what became of every tensor.

    Raises:
        CheckpointError: If the weights are damaged, would run code, are of another family, or do not fit.
    """
    tensors, config = _dual.read_weights(path)
    table = rename(tensors, RULES, path, FAMILY)
    arch, text = archs(_dual.under_our_names(table, tensors), config, path, heads)
    pixels = read_pixels(path, int(arch["image_size"]), video=False)
    tower = {
        "kind": "frame_vit",
        "arch": arch,
        "layer": -1,
        "drop_class_token": False,
        "mean": list(pixels.mean),
        "std": list(pixels.std),
    }
    width = int(arch["projection_dim"])
    model = _dual.build(
        tower, Text(arch=text), width, path, resolution=pixels.resolution, held=tensors.values(), edit=edit
    )
    report = _dual.fill(model, table, tensors, {}, family=FAMILY, where=path, dtype=dtype)
    return model, report


def archs(
    ours: Mapping[str, Tensor],
    config: Mapping[str, Any] | None,
    where: Path,
    heads: _dual.Heads | None = None,
) -> tuple[Spec, Spec]:
    """Configurations of the vision and the text tower: transformers' own where there is one, else by shapes.

    Args:
        ours: Tensors by our names.
        config: The `config.json` beside them.
        where: Their file or folder, for errors.
        heads: As `open_dual_encoder` takes them.

    Raises:
        CheckpointError: If the configuration cannot be, or a tensor that tells a size is missing.
        ConfigError: If the heads are given, and in the configuration, too.
    """
    if config is None or config.get("model_type") != FAMILY:
        shapes = _dual.Shapes(_dual.shapes_of(ours), where)
        of_vision, of_text = heads or (None, None)
        vision = shapes.vision("tower.net", "visual_projection.weight", heads=of_vision)
        return vision, shapes.text("text.net", _TABLE, "text_projection.weight", heads=of_text)
    if heads is not None:
        raise ConfigError(
            "heads", f"are told by {where / 'config.json'}", "leave them out, or mend that file"
        )
    try:
        whole = CLIPConfig(**cleaned(config))
    except (StrictDataclassError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            where / "config.json", f"describes no CLIP: {error}", "fetch the file again"
        ) from error
    shared = {"projection_dim": whole.projection_dim}
    vision, text = (cleaned(one.to_dict()) for one in (whole.vision_config, whole.text_config))
    return vision | shared, text | shared


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Refuse: a dual encoder is no video-language model.

    Raises:
        CheckpointError: Always.
    """
    raise _dual.no_video_lm(FAMILY, folder)


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a dual encoder's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)
