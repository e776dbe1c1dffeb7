"""What will be read of a clip, before a pixel of it is decoded: the model's own steps, on shapes alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from vidapt.nouns import Features, Grid, Layout, Plan, Span, Tokens


def stitched(resolution: Any, grids: Sequence[Grid], plan: Plan) -> list[tuple[Grid, ...]]:
    """What each call of the connector will read: `stitch` on features without content.

    Args:
        resolution: A resolution part.
        grids: What the towers make of each view of the plan.
        plan: What will be cut.

    Raises:
        ValueError: If the resolution cannot join such grids.
    """
    seen = [Features(torch.empty(1, grid.t, grid.h, grid.w, 1, device="meta")) for grid in grids]
    calls = _without_content(resolution).stitch(seen, plan)
    return [tuple(features.grid for features in call) for call in calls]


def arranged(resolution: Any, spans: Sequence[Span], plan: Plan) -> Layout:
    """What will be read: `arrange` on tokens without content.

    Args:
        resolution: A resolution part.
        spans: What each call of the connector makes.
        plan: What will be cut.

    Raises:
        ValueError: If the resolution cannot arrange such tokens.
    """
    part = _without_content(resolution)
    width = part.newline.shape[0] if hasattr(part, "newline") else 1
    tokens = [
        Tokens(torch.empty(1, grid.cells + extra, width, device="meta"), grid, extra) for grid, extra in spans
    ]
    read = part.arrange(tokens, plan)
    return tuple(piece if isinstance(piece, str) else (piece.grid, piece.extra) for piece in read)


def _without_content(resolution: Any) -> Any:
    """A resolution whose weights, if it has any, are shapes alone."""
    return copy.deepcopy(resolution).to("meta") if isinstance(resolution, nn.Module) else resolution
