"""Long-CLIP: CLIP that reads 248 tokens; and CLIP itself in OpenAI's layout, which can be stretched to it.

Source: Zhang et al. 2024, "Long-CLIP: Unlocking the Long-Text Capability of CLIP" (arXiv 2403.15378), and the
authors' `.pt` files, which keep the layout of OpenAI's CLIP: query, key and value in one tensor, projections
multiplied from the right. There is no configuration beside them: sizes are read from the tensors' shapes, and
heads have 64 numbers. The authors' loader rounds most weights to 16 bits; here they stay as they are stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _dual
from vidapt.hub._keys import Renamed, Rule, Shape, rename, rewrite
from vidapt.hub._report import LoadReport
from vidapt.models._text_tower import KEPT, stretch
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import Blueprint, Spec, Text

FAMILY = "long_clip"

TOKENS = "compares frames with texts of up to 248 tokens; as a tower, one feature for each frame"
LICENCE = "Apache-2.0"

CLAIMS = (("long_clip", "CLIP"),)
"""(model_type, architecture) that a `config.json` beside the authors' file may give to name it."""

_POSITIONS = "text.net.embeddings.position_embedding."
_FIRST, _REST, _ONLY = f"{_POSITIONS}first", f"{_POSITIONS}rest", f"{_POSITIONS}weight"

_LETTERS = ("q", "k", "v")
_RIGHT = ("visual.proj", "text_projection")
"""Projections that the authors multiply from the right, as they are called before `.weight`."""

# Pairs of names within a layer: the authors' (once query, key and value are apart), transformers'.
_WITHIN_LAYER = (
    ("attn", "self_attn"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)

# Pairs of names of the vision tower outside its layers: the authors' behind `visual.`, transformers'.
_VISION = (
    ("conv1.weight", "embeddings.patch_embedding.weight"),
    ("class_embedding", "embeddings.class_embedding"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("ln_pre.weight", "pre_layrnorm.weight"),
    ("ln_pre.bias", "pre_layrnorm.bias"),
    ("ln_post.weight", "post_layernorm.weight"),
    ("ln_post.bias", "post_layernorm.bias"),
)


def _layers(theirs: str, ours: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            rf"{theirs}transformer\.resblocks\.(\d+)\.{re.escape(a)}\.(.*)",
            rf"{ours}.encoder.layers.\1.{b}.\2",
        )
        for a, b in _WITHIN_LAYER
    )


def vision_rules(prefix: str, place: str) -> tuple[Rule, ...]:
    """Key table of the vision tower, behind `apart`.

    Args:
        prefix: Regular expression in front of the authors' names.
        place: Our name of the tower.
    """
    visual = rf"{prefix}(?:module\.)?visual\."
    return (
        *(Rule(rf"{visual}{re.escape(theirs)}", f"{place}.net.{ours}") for theirs, ours in _VISION),
        Rule(rf"{visual}proj\.weight", f"{place}.projection.weight"),
        *_layers(visual, f"{place}.net"),
    )


RULES = (
    *vision_rules("", "tower"),
    *_layers(r"(?:module\.)?", "text.net"),
    Rule(r"(?:module\.)?token_embedding\.weight", "text.net.embeddings.token_embedding.weight"),
    Rule(r"(?:module\.)?positional_embedding", _FIRST),
    Rule(r"(?:module\.)?positional_embedding_res", _REST),
    Rule(r"(?:module\.)?ln_final\.(weight|bias)", r"text.net.final_layer_norm.\1"),
    Rule(r"(?:module\.)?(text_projection\.weight|logit_scale)", r"\1"),
    Rule(
        r"(?:module\.)?(?:input_resolution|context_length|vocab_size)", None, "a number the shapes tell, too"
    ),
)


def _layers_to_hub(prefix: str, place: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            rf"{re.escape(place)}\.net\.encoder\.layers\.(\d+)\.{re.escape(ours)}\.(.*)",
            rf"{prefix}transformer.resblocks.\1.{theirs}.\2",
        )
        for theirs, ours in _WITHIN_LAYER
    )


def vision_to_hub(prefix: str, place: str) -> tuple[Rule, ...]:
    """Key table of the vision tower, back to the names behind `apart`.

    Args:
        prefix: What stands in front of them.
        place: Our name of the tower.
    """
    ours = re.escape(place)
    return (
        *(Rule(rf"{ours}\.net\.{re.escape(b)}", f"{prefix}visual.{a}") for a, b in _VISION),
        Rule(rf"{ours}\.projection\.weight", f"{prefix}visual.proj.weight"),
        *_layers_to_hub(f"{prefix}visual.", place),
    )


TO_HUB = (
    *vision_to_hub("", "tower"),
    *_layers_to_hub("", "text"),
    Rule(r"text\.net\.embeddings\.token_embedding\.weight", "token_embedding.weight"),
    Rule(rf"{re.escape(_POSITIONS)}(?:first|weight)", "positional_embedding"),
    Rule(re.escape(_REST), "positional_embedding_res"),
    Rule(r"text\.net\.final_layer_norm\.(.*)", r"ln_final.\1"),
    Rule(r"(text_projection\.weight|logit_scale)", r"\1"),
)


def open_dual_encoder(
    path: Path,
    *,
    lengthen: bool = False,
    dtype: torch.dtype | None = torch.float32,
    heads: _dual.Heads | None = None,
    edit: _dual.Edit | None = None,
) -> tuple[DualEncoder, LoadReport]:
    """Open Long-CLIP, or CLIP in the same layout.

    Args:
        path: The authors' `.pt` file.
        lengthen: Accept CLIP with its one table of positions and stretch it, as Long-CLIP's training begins;
            the report names both tables.
        dtype: Number format of the weights in memory; None keeps each as it is stored.
        heads: How many the vision and the text tower have; None: as many of 64 numbers as there is room for.
        edit: Changes the blueprint before the model is built, for instance its frames or how it pools.

    Returns:
        The model in evaluation mode, and what became of every tensor.

    Raises:
        CheckpointError: If the file is damaged, would run code, is of another family, or does not fit.
    """
    raw, _ = _dual.read_weights(path)
    tensors = apart(raw, path)
    table = _table(tensors, path)
    initial: dict[str, Tensor] = {}
    if lengthen:
        initial = _lengthened(_dual.under_our_names(table, tensors), path)
        names = {old: new for old, new in table.names.items() if new != _ONLY}
        table = Renamed(names, {**table.ignored, "positional_embedding": "stretched into two tables"})
    ours = {**_dual.under_our_names(table, tensors), **initial}
    sizes = _dual.shapes_of(ours)
    shapes = _dual.Shapes(sizes, path)
    of_vision, of_text = heads or (None, None)
    tower = vision_tower(sizes, "tower", path, output="patches", heads=of_vision)
    positions = _FIRST if _FIRST in ours else _ONLY
    text = shapes.text("text.net", positions, "text_projection.weight", heads=of_text)
    model = _dual.build(
        tower,
        Text(arch=text, kept=KEPT if _REST in ours else None),
        shapes.side("text_projection.weight", 0),
        path,
        held=tensors.values(),
        edit=edit,
    )
    report = _dual.fill(model, table, tensors, initial, family=FAMILY, where=path, dtype=dtype)
    return model, report


def vision_tower(
    ours: Mapping[str, Shape], place: str, where: Path, output: str, heads: int | None = None
) -> Spec:
    """Specification of the tower whose tensors are given.

    Args:
        ours: Shapes of tensors by our names.
        place: Our name of the tower.
        where: File they come from, for errors.
        output: What the tower hands on.
        heads: How many it has; None: as many of 64 numbers as there is room for.

    Raises:
        CheckpointError: If tensors that tell its sizes are missing.
    """
    arch = _dual.Shapes(ours, where).vision(f"{place}.net", f"{place}.projection.weight", heads=heads)
    return {"kind": "long_clip", "arch": arch, "output": output}


def apart(tensors: Mapping[str, Tensor], where: Path | str) -> dict[str, Tensor]:
    """Part query, key and value, and turn the projections.

    Args:
        tensors: By the authors' names.
        where: Their file, for errors.

    Returns:
        `attn.in_proj_weight` as `attn.q_proj.weight` and so on, `visual.proj` as `visual.proj.weight`; all
        else as it is.

    Raises:
        CheckpointError: If a tensor cannot be parted.
    """
    parted: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        fused = re.fullmatch(r"(.*attn\.)in_proj_(weight|bias)", key)
        if fused:
            if not tensor.ndim or tensor.shape[0] % 3:
                raise CheckpointError(
                    where, f"{key} {list(tensor.shape)} is not query, key and value", "the file is damaged"
                )
            pieces = zip(_LETTERS, tensor.chunk(3), strict=True)
            # Copied, since tensors that share memory cannot be saved apart.
            parted |= {f"{fused[1]}{letter}_proj.{fused[2]}": piece.clone() for letter, piece in pieces}
        elif key.removeprefix("module.") in _RIGHT:
            if tensor.ndim != 2:
                raise CheckpointError(where, f"{key} is no matrix", "the file is damaged")
            parted[f"{key}.weight"] = tensor.T.contiguous()
        else:
            parted[key] = tensor
    return parted


def together(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `apart`."""
    joined: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        piece = re.fullmatch(r"(.*attn\.)([qkv])_proj\.(weight|bias)", key)
        if piece is None:
            plain = key.removesuffix(".weight")
            joined |= {plain: tensor.T.contiguous()} if plain in _RIGHT else {key: tensor}
        elif piece[2] == "q":
            names = [f"{piece[1]}{letter}_proj.{piece[3]}" for letter in _LETTERS]
            joined[f"{piece[1]}in_proj_{piece[3]}"] = torch.cat([tensors[name] for name in names])
    return joined


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Refuse: a dual encoder is no video-language model.

    Raises:
        CheckpointError: Always.
    """
    raise _dual.no_video_lm(FAMILY, folder)


def to_ours(tensors: Mapping[str, Tensor], where: Path | str) -> dict[str, Tensor]:
    """Undo `to_hub`.

    Args:
        tensors: By the authors' names.
        where: Their file, for errors.

    Raises:
        CheckpointError: If a tensor is of another family, or cannot be parted.
    """
    separate = apart(tensors, where)
    return _dual.under_our_names(_table(separate, where), separate)


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a dual encoder's tensors to the authors' layout; see `_keys.rewrite`."""
    return together(rewrite(state, TO_HUB, FAMILY))


def _table(tensors: Mapping[str, Tensor], where: Path | str) -> Renamed:
    """Names behind `apart` to ours; CLIP's one table of positions is no first of two."""
    table = rename(tensors, RULES, where, FAMILY)
    if _REST in table.names.values():
        return table
    return Renamed({old: _ONLY if new == _FIRST else new for old, new in table.names.items()}, table.ignored)


def _lengthened(ours: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    if _ONLY not in ours:
        raise CheckpointError(
            where, "is no CLIP with one table of positions", "open it without `lengthen`: it is Long-CLIP"
        )
    try:
        table = stretch(ours[_ONLY].float())
    except ValueError as error:
        raise CheckpointError(where, str(error), "give CLIP's own weights") from error
    return {_FIRST: table, _REST: table.clone()}
