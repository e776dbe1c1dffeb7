"""Which visual tokens of a clip are read, where its resolution leaves out what does not move.

The choice is made by pixels, as soon as a clip is cut: so it is known before a tower runs, holds whatever the
tower learns, is kept with features, and gives the text behind it its positions. How much each cell changes
takes the way that the clip's tokens take: stitched, brought to the connector's grid, arranged. So tokens and
changes stand in one order, whatever the resolution does with them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.nouns import Features, Grid, Kept, Layout, Plan, Span, SparseGrid, Stamp, Tokens
from vidapt.parts import find
from vidapt.recipe import Blueprint, Prune, Scene

_ALWAYS = 1e6
"""Change of what is read in any case: far above 1, and finite, since it is averaged."""

_FRAMES_AT_ONCE = 16


def check_pruning(resolution: Any, scenes: Mapping[Scene, Any], connector: Any) -> None:
    """See that what resolutions leave out can be left out.

    Args:
        resolution: A model's.
        scenes: Its other resolutions.
        connector: Its connector.

    Raises:
        ConfigError: If only stills are cut so, or the connector's tokens stand for no part of a picture.
    """
    used = {"resolution": resolution, **{f"scenes.{scene}": part for scene, part in scenes.items()}}
    footage = "scenes.video" if "scenes.video" in used else "resolution"
    for name, part in used.items():
        where = f"blueprint.{name}.prune"
        if getattr(getattr(part, "cfg", None), "prune", None) is None:
            continue
        if name != footage:
            raise ConfigError(where, "is of stills, in which nothing moves", f"say it of {footage}")
        if not getattr(connector, "local", False):
            raise ConfigError(
                where,
                "this model's connector makes tokens that stand for no part of a picture, so none of them is "
                "known not to move",
                "leave `prune` out, or use a connector that keeps cells, such as pool_mlp",
            )


def kept_of(
    tensors: Sequence[Tensor], plan: Plan, resolution: Any, towers: Sequence[Any], connector: Any
) -> Kept | None:
    """Which visual tokens of a clip are read; None where all are.

    Args:
        tensors: [T, 3, h, w] for each view of the plan, as the resolution cut it.
        plan: Of the clip.
        resolution: How it is cut and read.
        towers: The model's.
        connector: The model's.
    """
    prune = prune_of(resolution, plan.frames)
    if prune is None:
        return None
    grids = _grids(plan, towers)
    cells = [cell_changes(tensor, grid) for tensor, grid in zip(tensors, grids, strict=True)]
    return chosen(token_changes(cells, resolution, connector, plan), prune)


def kept_of_still(plan: Plan, resolution: Any, towers: Sequence[Any], connector: Any) -> Kept | None:
    """The same of a clip in which nothing moves; None too where their number depends on what does."""
    prune = prune_of(resolution, plan.frames)
    if prune is None or prune.keep is None:
        return None
    cells = [torch.zeros(grid.t, grid.h, grid.w) for grid in _grids(plan, towers)]
    return chosen(token_changes(cells, resolution, connector, plan), prune)


def _grids(plan: Plan, towers: Sequence[Any]) -> list[Grid]:
    grids = [towers[view.tower].grid(plan.frames, view.size) for view in plan.views]
    assert all(isinstance(grid, Grid) for grid in grids)
    return grids


def with_pruning(blueprint: Blueprint, prune: Prune) -> Blueprint:
    """The same model, which leaves visual tokens of footage out.

    Raises:
        ConfigError: If the resolution of footage offers no such thing.
    """
    in_scene = "video" in blueprint.scenes
    spec = blueprint.scenes["video"] if in_scene else blueprint.resolution
    if "prune" not in find("resolutions", spec["kind"]).Config.model_fields:
        raise ConfigError(
            "prune",
            f"footage is cut by {spec['kind']!r}, which leaves nothing out",
            "leave `prune` out, or read fewer frames or smaller pictures",
        )
    told = {**spec, "prune": prune.model_dump(exclude_none=True)}
    changed = {"scenes": {**blueprint.scenes, "video": told}} if in_scene else {"resolution": told}
    return blueprint.model_copy(update=changed)


def prune_of(resolution: Any, frames: int) -> Prune | None:
    """What a resolution leaves out of a clip of so many frames; None where all of it is read."""
    prune = getattr(getattr(resolution, "cfg", None), "prune", None)
    assert prune is None or isinstance(prune, Prune)
    return None if prune is None or frames < 2 or prune.keep == 1 else prune


def cell_changes(view: Tensor, grid: Grid) -> Tensor:
    """How much the pixels of each cell change, from 0 to 1.

    Args:
        view: [T, 3, H, W], 0 to 255.
        grid: Cells into which a tower divides it; `t` slices of frames one after the other.

    Returns:
        [t, h, w] float32: the mean difference to the frame before, over the frames of the slice; zeros in the
        first slice.
    """
    differences = torch.zeros(len(view), grid.h, grid.w)
    for first in range(1, len(view), _FRAMES_AT_ONCE):
        some = view[first - 1 : first + _FRAMES_AT_ONCE].float()
        change = some.diff(dim=0).abs().mean(1, keepdim=True) / 255
        pooled = F.adaptive_avg_pool2d(change, (grid.h, grid.w))
        differences[first : first + len(pooled)] = pooled.squeeze(1)
    per = math.ceil(len(view) / grid.t)
    changes = torch.zeros(grid.t, grid.h, grid.w)
    for index in range(1, grid.t):
        # The last slice may hold fewer frames than others; its tower repeats the last one.
        start = min(index * per, len(view) - 1)
        changes[index] = differences[start : start + per].mean(0)
    return changes


def token_changes(changes: Sequence[Tensor], resolution: Any, connector: Any, plan: Plan) -> Tensor:
    """How much changes where each visual token of a clip stands.

    Args:
        changes: [t, h, w] of each view of the plan, in its tower's grid.
        resolution: How the views are read.
        connector: Its tokens stand for the part of the clip where they lie.
        plan: Of the clip.

    Returns:
        [n] float32 in reading order; at least 1 for what is read in any case.
    """
    part = _with_newline(resolution)
    seen = [Features(change[None, ..., None]) for change in changes]
    tokens = [_carried(call, connector) for call in part.stitch(seen, plan)]
    read = [piece for piece in part.arrange(tokens, plan) if isinstance(piece, Tokens)]
    return torch.cat([piece.x[0, :, 0] for piece in read])


def _carried(call: Sequence[Features], connector: Any) -> Tokens:
    """The changes of a call's first view as tokens of the connector's grid."""
    grid, extra = connector.plan(*(features.grid for features in call))
    moved = F.adaptive_avg_pool3d(call[0].x[..., 0], (grid.t, grid.h, grid.w))
    moved[:, 0] = _ALWAYS
    x = F.pad(moved.flatten(1), (0, extra), value=_ALWAYS)
    return Tokens(x.unsqueeze(-1), grid, extra)


def _with_newline(resolution: Any) -> Any:
    """A resolution whose newline, if it has one, is a change that is always read."""
    if not isinstance(resolution, nn.Module):
        return resolution
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(torch.full((1,), _ALWAYS)) for weight in resolution.parameters()
    }
    return copy.deepcopy(resolution, memo)


def chosen(changes: Tensor, prune: Prune) -> Kept:
    """Which tokens are read: what always is, and what changes most; of equal ones the first.

    Args:
        changes: [n], as `token_changes` gives them.
        prune: How many.
    """
    if prune.keep is None:
        assert prune.threshold is not None
        return tuple((changes > prune.threshold).nonzero().flatten().tolist())
    count = planned(changes, prune)
    order = torch.argsort(changes, descending=True, stable=True)
    return tuple(sorted(order[:count].tolist()))


def planned(changes: Tensor, prune: Prune) -> int:
    """How many tokens are read at most; exactly so many where a share is kept. The values do not matter."""
    if prune.keep is None:
        return len(changes)
    always = int((changes >= 1).sum())
    return max(always, math.floor(prune.keep * len(changes) + 0.5))


def sparse(layout: Layout, kept: Kept) -> Layout:
    """A layout of which only some visual tokens are read.

    Args:
        layout: With all of them.
        kept: Those that are.

    Raises:
        ValueError: If some token without a place is not among them.
    """
    pieces: list[Span | str | Stamp] = []
    first, at = 0, 0
    for piece in layout:
        if not isinstance(piece, tuple):
            pieces.append(piece)
            continue
        grid, extra = piece
        end = at
        while end < len(kept) and kept[end] < first + grid.cells:
            end += 1
        cells = tuple(index - first for index in kept[at:end])
        first += grid.cells
        if tuple(range(first, first + extra)) != kept[end : end + extra]:
            raise ValueError("tokens without a place are always read")
        pieces.append((SparseGrid(grid.t, grid.h, grid.w, cells), extra))
        first, at = first + extra, end + extra
    return tuple(pieces)
