"""ConvNeXts by timm's names: Mini-Gemini's second tower, OpenCLIP's towers and timm's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vidapt.errors import CheckpointError
from vidapt.hub._keys import Rule, Shape
from vidapt.recipe import Spec

# Pairs of names within a ConvNeXt block: timm's, transformers'.
_WITHIN_BLOCK = (
    ("gamma", "layer_scale_parameter"),
    ("conv_dw", "dwconv"),
    ("norm", "layernorm"),
    ("mlp.fc1", "pwconv1"),
    ("mlp.fc2", "pwconv2"),
)


def to_ours(stem: str, stages: str, place: str) -> tuple[Rule, ...]:
    """Key table of a ConvNeXt by timm's names.

    Args:
        stem: What stands in front of the stem's names, such as `stem.`.
        stages: What stands in front of the stages' numbers, such as `stages.`.
        place: What stands in front of our names.
    """
    block = rf"{re.escape(stages)}(\d+)\.blocks\.(\d+)\."
    return (
        Rule(rf"{re.escape(stem)}0\.(.*)", rf"{place}stem.patch_embeddings.\1"),
        Rule(rf"{re.escape(stem)}1\.(.*)", rf"{place}stem.layernorm.\1"),
        Rule(rf"{re.escape(stages)}(\d+)\.downsample\.(.*)", rf"{place}stages.\1.downsampling_layer.\2"),
        *(
            Rule(rf"{block}{re.escape(theirs)}(\..*)?", rf"{place}stages.\1.layers.\2.{ours}\3")
            for theirs, ours in _WITHIN_BLOCK
        ),
    )


def from_ours(place: str, stem: str, stages: str) -> tuple[Rule, ...]:
    """Key table of a ConvNeXt, back to timm's names.

    Args:
        place: What stands in front of our names.
        stem: As in `to_ours`.
        stages: As in `to_ours`.
    """
    ours = re.escape(place)
    block = rf"{ours}stages\.(\d+)\.layers\.(\d+)\."
    return (
        Rule(rf"{ours}stem\.patch_embeddings\.(.*)", rf"{stem}0.\1"),
        Rule(rf"{ours}stem\.layernorm\.(.*)", rf"{stem}1.\1"),
        Rule(rf"{ours}stages\.(\d+)\.downsampling_layer\.(.*)", rf"{stages}\1.downsample.\2"),
        *(
            Rule(rf"{block}{own}(\..*)?", rf"{stages}\1.blocks.\2.{theirs}\3")
            for theirs, own in _WITHIN_BLOCK
        ),
    )


def arch(shapes: Mapping[str, Shape], stem: str, stages: str, where: Path) -> Spec:
    """A ConvNeXt's configuration, read from the shapes of its tensors by timm's names.

    Args:
        shapes: By their names.
        stem: As in `to_ours`.
        stages: As in `to_ours`.
        where: Their file or folder, for errors.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    count = _count(shapes, rf"{re.escape(stages)}(\d+)\..*")
    first = [f"{stages}{stage}.blocks.0." for stage in range(count)]
    return {
        "model_type": "convnext",
        "hidden_sizes": [_shape(shapes, f"{name}norm.weight", where)[0] for name in first],
        "depths": [
            _count(shapes, rf"{re.escape(stages)}{stage}\.blocks\.(\d+)\..*") for stage in range(count)
        ],
        "patch_size": _shape(shapes, f"{stem}0.weight", where)[-1],
        # Some of the larger ConvNeXts do not scale their layers.
        "layer_scale_init_value": 1e-6 if all(f"{name}gamma" in shapes for name in first) else 0.0,
    }


def _shape(shapes: Mapping[str, Shape], key: str, where: Path) -> Shape:
    if key not in shapes:
        raise CheckpointError(
            where,
            f"{key!r}, from which a tower's size is read, is missing",
            "the folder needs the whole tower's weights, as the authors publish them",
        )
    return shapes[key]


def _count(names: Iterable[str], pattern: str) -> int:
    return len({match[1] for key in names if (match := re.fullmatch(pattern, key))})
