"""What families with AnyRes share: tiles of a still, the learned newline, and the authors' own files.

Source: transformers' `LlavaNextConfig` and its relatives; the configurations of the authors' checkpoints,
which are flat, name their vision tower instead of describing it, and write `mm_` before what joins the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _authors, _composed
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._preprocess import CLIP_MEAN, CLIP_STD, HALF, Pixels, filter_of, settings
from vidapt.hub._prompts import Habit
from vidapt.recipe import Spec

NEWLINE_KEY = "resolution.newline"

RULES = (
    *_composed.RECOMPUTED,
    Rule(r"(?:model\.)?image_newline", NEWLINE_KEY),
    *_authors.RULES,
    *_composed.HUB,
)
"""Both of the hub's layouts, the one in memory, and the authors'."""

TO_HUB = (*_composed.TO_HUB, Rule(r"(?:resolution|scenes\.\w+)\.newline", "image_newline"))


def tower_and_language(config: Mapping[str, Any], where: Path) -> tuple[Spec, Spec]:
    """Specifications of the vision tower (without normalisation) and the language model.

    Raises:
        CheckpointError: If there is no part for one of them.
    """
    if _authors.is_authors(config):
        return _authors.tower(config, where.parent), _authors.language(config)
    return _composed.tower(config, where), _composed.language(config, where)


def pixels_of_stills(
    config: Mapping[str, Any], folder: Path, tower: Spec, default: Sequence[Sequence[int]]
) -> Pixels:
    """How a still becomes a whole view and tiles.

    Args:
        config: The checkpoint's `config.json`.
        folder: Where its processor's files lie, if it has any.
        tower: Specification of the vision tower.
        default: Grids, where neither says any.

    Raises:
        CheckpointError: If configuration and processor differ, or tiles are not the tower's size.
    """
    side = _composed.side(tower)
    where, fields = settings(folder, video=False)
    for name in ("size", "crop_size"):
        given = fields.get(name)
        sides = set(given.values() if isinstance(given, dict) else [given]) - {None}
        if sides - {side}:
            raise CheckpointError(where, f"{name} is {given} for a tower of {side}", "they must be equal")
    ours, theirs = (_grids(source, side, where) for source in (config, fields))
    if ours and theirs and ours != theirs:
        raise CheckpointError(
            where, "`image_grid_pinpoints` differ from those of config.json", "fetch both files again"
        )
    mean, std = (CLIP_MEAN, CLIP_STD) if tower["arch"]["model_type"] == "clip_vision_model" else (HALF, HALF)
    spec = {"kind": "anyres", "grids": ours or theirs or default, "filter": filter_of(fields, where)}
    return Pixels(spec, tuple(fields.get("image_mean", mean)), tuple(fields.get("image_std", std)))


def to_hub(state: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """Rename a model's tensors to the hub's layout; the newline that scenes share becomes one tensor again.

    Args:
        state: `state_dict()` of a VideoLM, adapters merged.
        family: For errors.

    Raises:
        CheckpointError: If a tensor has no place in that layout.
    """
    return rewrite(_composed.one_newline(state), TO_HUB, family)


def habit(config: Mapping[str, Any]) -> Habit:
    """Authors' files hold the chat template of the language model they began with, if any."""
    return Habit(template="last" if _authors.is_authors(config) else "first")


def _grids(source: Mapping[str, Any], side: int, where: Path) -> list[tuple[int, int]]:
    """(rows, columns) of tiles, of pinpoints in pixels as transformers lists them: (height, width).

    The authors list (width, height), or write a range of grids.
    """
    pinpoints = source.get("image_grid_pinpoints") or []
    if isinstance(pinpoints, str):
        pinpoints = _authors_range(pinpoints, side, where)
    elif _authors.is_authors(source):
        pinpoints = [(height, width) for width, height in pinpoints]
    if any(length < side or length % side for pinpoint in pinpoints for length in pinpoint):
        raise CheckpointError(
            where,
            f"image_grid_pinpoints {pinpoints} are not multiples of the tower's {side} pixels",
            "tiles of another size than the tower's cannot be joined; check both files' sizes",
        )
    return [(height // side, width // side) for height, width in pinpoints]


def _authors_range(text: str, side: int, where: Path) -> list[tuple[int, int]]:
    """Pinpoints in pixels of "(1x1),...,(6x6)"."""
    ends = [part.strip("() ").split("x") for part in text.split(",...,")]
    if len(ends) != 2 or not all(len(end) == 2 and all(n.isdecimal() for n in end) for end in ends):
        raise CheckpointError(
            where, f"image_grid_pinpoints is {text!r}", "known: a list, or a range such as (1x1),...,(6x6)"
        )
    (first_row, first_column), (rows, columns) = [[int(number) for number in end] for end in ends]
    if rows * columns > 144:
        raise CheckpointError(where, f"image_grid_pinpoints {text!r} goes too far", "known: up to 144 tiles")
    return [
        (row * side, column * side)
        for row in range(first_row, rows + 1)
        for column in range(first_column, columns + 1)
    ]
