"""CLIP-ViP: CLIP whose vision tower reads a clip through video proxies, and image CLIP as its beginning.

Source: Xue et al. 2022, "CLIP-ViP: Adapting Pre-trained Image-Text Model to Video-Language Representation
Alignment" (arXiv 2209.06430), and the authors' code and `.pt` files. Those name CLIP's tensors as
transformers does, behind `clipmodel.`; copies saved while training on several devices have `module.` in
front. There is no configuration beside them: sizes are read from the tensors' shapes, and heads have 64
numbers as in every published CLIP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig

from vidapt.errors import CheckpointError
from vidapt.hub import _dual
from vidapt.hub._composed import cleaned
from vidapt.hub._keys import Rule, Shape, rename, rewrite
from vidapt.hub._report import LoadReport
from vidapt.models._text_tower import Text
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import Blueprint, Spec

FAMILY = "clip_vip"

TOKENS = "compares clips with texts; as a tower, frames x 196 patches and 4 proxies (16 pixels at 224)"
LICENCE = "MIT (XPretrain)"

CLAIMS = (("clip_vip", "VidCLIP"),)
"""(model_type, architecture) that a `config.json` beside the authors' file may give to name it."""

FRAMES, ADDED = 12, 3
"""Of a CLIP-ViP that starts from image CLIP, as published."""

_PREFIX = r"(?:module\.)?(?:clipmodel\.)?"
_TEXT = r"text_model\.(.*)"
_TABLE = "text.net.embeddings.position_embedding.weight"
_NEW = ("tower.temporal", "tower.added")


def vision_rules(prefix: str, place: str) -> tuple[Rule, ...]:
    """Key table of the vision tower.

    Args:
        prefix: Regular expression in front of the authors' names.
        place: Our name of the tower.
    """
    vision = rf"{prefix}{_PREFIX}vision_model\."
    return (
        Rule(rf"{vision}embeddings\.position_ids", None, "0, 1, 2, ...; not learned"),
        Rule(rf"{vision}embeddings\.added_cls", f"{place}.added"),
        Rule(rf"{vision}embeddings\.temporal_embedding", f"{place}.temporal"),
        Rule(rf"{vision}(.*)", rf"{place}.net.\1"),
    )


RULES = (
    *vision_rules("", "tower"),
    Rule(rf"{_PREFIX}text_model\.embeddings\.position_ids", None, "0, 1, 2, ...; not learned"),
    Rule(_PREFIX + _TEXT, r"text.net.\1"),
    Rule(rf"{_PREFIX}((?:visual|text)_projection\.weight|logit_scale)", r"\1"),
)


def vision_to_hub(prefix: str, place: str) -> tuple[Rule, ...]:
    """Key table of the vision tower, back to the authors' names.

    Args:
        prefix: What stands in front of them.
        place: Our name of the tower.
    """
    theirs, ours = f"{prefix}clipmodel.vision_model.", re.escape(place)
    return (
        Rule(rf"{ours}\.added", f"{theirs}embeddings.added_cls"),
        Rule(rf"{ours}\.temporal", f"{theirs}embeddings.temporal_embedding"),
        Rule(rf"{ours}\.net\.(.*)", rf"{theirs}\1"),
    )


TO_HUB = (
    *vision_to_hub("", "tower"),
    Rule(r"text\.net\.(.*)", r"clipmodel.text_model.\1"),
    Rule(r"((?:visual|text)_projection\.weight|logit_scale)", r"clipmodel.\1"),
)


def open_dual_encoder(
    path: Path,
    *,
    start_from_image: bool = False,
    seed: int = 0,
    dtype: torch.dtype | None = torch.float32,
) -> tuple[DualEncoder, LoadReport]:
    """Open CLIP-ViP, or begin one from image CLIP.

    Args:
        path: The authors' `.pt` file, or a folder of image CLIP as transformers saves it.
        start_from_image: Accept weights of image CLIP, whose temporal table (zeros) and added proxies (normal
            with deviation 1) then start as published; the report names both.
        seed: Of the added proxies.
        dtype: Number format of the weights in memory; None keeps each as it is stored.

    Returns:
        The model in evaluation mode, and what became of every tensor.

    Raises:
        CheckpointError: If the file is damaged, would run code, is of another family, or does not fit.
    """
    tensors, config = _dual.read_weights(path)
    table = rename(tensors, RULES, path, FAMILY)
    ours = _dual.under_our_names(table, tensors)
    arch, text = _archs(ours, config, path)
    initial = _initial(ours, arch, seed, path) if start_from_image else {}
    tower = vision_tower(_dual.shapes_of({**ours, **initial}), "tower", arch, path)
    model = _dual.build(tower, Text(arch=text), int(arch["projection_dim"]), path)
    report = _dual.fill(model, table, tensors, initial, family=FAMILY, where=path, dtype=dtype)
    return model, report


def vision_tower(ours: Mapping[str, Shape], place: str, arch: Spec, where: Path) -> Spec:
    """Specification of the tower whose tensors are given.

    Args:
        ours: Shapes of tensors by our names.
        place: Our name of the tower.
        arch: The tower's transformers configuration.
        where: File they come from, for errors.

    Raises:
        CheckpointError: If they have no proxies or no temporal table.
    """
    absent = [name for name in ("temporal", "added") if f"{place}.{name}" not in ours]
    if absent:
        raise CheckpointError(
            where,
            f"has no {' and no '.join(absent)} embeddings: it is image CLIP",
            "give a CLIP-ViP file, or begin one with open_dual_encoder(..., start_from_image=True)",
        )
    shapes = _dual.Shapes(ours, where)
    frames, added = shapes.side(f"{place}.temporal", 1), shapes.side(f"{place}.added", 0)
    return {"kind": "clip_vip", "arch": arch, "frames": frames, "added": added}


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Refuse: a dual encoder is no video-language model.

    Raises:
        CheckpointError: Always.
    """
    raise _dual.no_video_lm(FAMILY, folder)


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a dual encoder's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)


def _archs(ours: Mapping[str, Tensor], config: Mapping[str, Any] | None, where: Path) -> tuple[Spec, Spec]:
    """Configurations of both towers: transformers' own where there is one, else from the shapes."""
    if config is not None and config.get("model_type") == "clip":
        whole = CLIPConfig(**cleaned(config))
        vision, text = whole.vision_config.to_dict(), whole.text_config.to_dict()
        vision["projection_dim"] = text["projection_dim"] = whole.projection_dim
        return cleaned(vision), cleaned(text)
    shapes = _dual.Shapes(_dual.shapes_of(ours), where)
    vision = shapes.vision("tower.net", "visual_projection.weight")
    return vision, shapes.text("text.net", _TABLE, "text_projection.weight")


def _initial(ours: Mapping[str, Tensor], arch: Spec, seed: int, where: Path) -> dict[str, Tensor]:
    there = [name for name in _NEW if name in ours]
    if there:
        raise CheckpointError(
            where, f"holds {' and '.join(there)} already", "open it without start_from_image: it is CLIP-ViP"
        )
    width, generator = int(arch["hidden_size"]), torch.Generator().manual_seed(seed)
    temporal, added = torch.zeros(1, FRAMES, width), torch.randn(ADDED, width, generator=generator)
    return {"tower.temporal": temporal, "tower.added": added}
