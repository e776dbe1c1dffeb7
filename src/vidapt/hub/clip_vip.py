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

from vidapt.errors import CheckpointError
from vidapt.hub import _dual, clip
from vidapt.hub._keys import Rule, Shape, rename, rewrite
from vidapt.hub._report import LoadReport
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import Blueprint, Spec, Text

FAMILY = "clip_vip"

TOKENS = "compares clips with texts; as a tower, frames x 196 patches and 4 proxies (16 pixels at 224)"
LICENCE = "MIT (XPretrain)"

CLAIMS = (("clip_vip", "VidCLIP"),)
"""(model_type, architecture) that a `config.json` beside the authors' file may give to name it."""

FRAMES, ADDED = 12, 3
"""Of a CLIP-ViP that starts from image CLIP, as published."""

_NEW = ("tower.temporal", "tower.added")


def vision_rules(prefix: str, place: str) -> tuple[Rule, ...]:
    """Key table of the vision tower: CLIP's, and what is added to it.

    Args:
        prefix: Regular expression in front of the authors' names.
        place: Our name of the tower.
    """
    embeddings = rf"{prefix}{clip.PREFIX}vision_model\.embeddings\."
    return (
        Rule(rf"{embeddings}added_cls", f"{place}.added"),
        Rule(rf"{embeddings}temporal_embedding", f"{place}.temporal"),
        *clip.vision_rules(prefix, place),
    )


RULES = (*vision_rules("", "tower"), *clip.TEXT_RULES)


def vision_to_hub(prefix: str, place: str) -> tuple[Rule, ...]:
    """Key table of the vision tower, back to the authors' names.

    Args:
        prefix: What stands in front of them.
        place: Our name of the tower.
    """
    theirs, ours = f"{prefix}clipmodel.", re.escape(place)
    return (
        Rule(rf"{ours}\.added", f"{theirs}vision_model.embeddings.added_cls"),
        Rule(rf"{ours}\.temporal", f"{theirs}vision_model.embeddings.temporal_embedding"),
        *clip.vision_to_hub(theirs, place),
    )


TO_HUB = (*vision_to_hub("", "tower"), *clip.text_to_hub("clipmodel."))


def open_dual_encoder(
    path: Path,
    *,
    start_from_image: bool = False,
    seed: int = 0,
    dtype: torch.dtype | None = torch.float32,
    heads: _dual.Heads | None = None,
    edit: _dual.Edit | None = None,
) -> tuple[DualEncoder, LoadReport]:
    """Open CLIP-ViP, or begin one from image CLIP.

    Args:
        path: The authors' `.pt` file, or a folder of image CLIP as transformers saves it.
        start_from_image: Accept weights of image CLIP, whose temporal table (zeros) and added proxies (normal
            with deviation 1) then start as published; the report names both.
        seed: Of the added proxies.
        dtype: Number format of the weights in memory; None keeps each as it is stored.
        heads: How many the vision and the text tower have, where no configuration tells them; None: as
            many of 64 numbers as there is room for.
        edit: Changes the blueprint before the model is built, for instance its frames or how it pools.

    Returns:
        The model in evaluation mode, and what became of every tensor.

    Raises:
        CheckpointError: If the file is damaged, would run code, is of another family, or does not fit.
    """
    tensors, config = _dual.read_weights(path)
    table = rename(tensors, RULES, path, FAMILY)
    ours = _dual.under_our_names(table, tensors)
    arch, text = clip.archs(ours, config, path, heads)
    initial = _initial(ours, arch, seed, path) if start_from_image else {}
    tower = vision_tower(_dual.shapes_of({**ours, **initial}), "tower", arch, path)
    model = _dual.build(
        tower, Text(arch=text), int(arch["projection_dim"]), path, held=tensors.values(), edit=edit
    )
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


def _initial(ours: Mapping[str, Tensor], arch: Spec, seed: int, where: Path) -> dict[str, Tensor]:
    there = [name for name in _NEW if name in ours]
    if there:
        raise CheckpointError(
            where, f"holds {' and '.join(there)} already", "open it without start_from_image: it is CLIP-ViP"
        )
    width, generator = int(arch["hidden_size"]), torch.Generator().manual_seed(seed)
    temporal, added = torch.zeros(1, FRAMES, width), torch.randn(ADDED, width, generator=generator)
    return {"tower.temporal": temporal, "tower.added": added}
