"""What will be read of a clip, before a pixel of it is decoded: the model's own steps, on shapes alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vidapt.nouns import Features, Grid, Layout, Plan, Span, Stamp, Tokens
from vidapt.recipe import TimeText


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


def arranged(
    resolution: Any, spans: Sequence[Span], plan: Plan, text: TimeText | None = None, depths: int = 0
) -> Layout:
    """What will be read: `arrange` on tokens without content, with the text that belongs around them.

    Args:
        resolution: A resolution part.
        spans: What each call of the connector makes.
        plan: What will be cut.
        text: What is written around such clips and their slices, if anything is.
        depths: Behind how many language layers the connector adds something.

    Raises:
        ValueError: If the resolution cannot arrange such tokens.
    """
    part = _without_content(resolution)
    width = part.newline.shape[0] if hasattr(part, "newline") else 1
    tokens = [_nothing(span, width, depths) for span in spans]
    return layout_of(marked(part.arrange(tokens, plan), text, plan))


def _nothing(span: Span, width: int, depths: int) -> Tokens:
    """Tokens without content."""
    grid, extra = span
    x = torch.empty(1, grid.cells + extra, width, device="meta")
    return Tokens(x, grid, extra, (x,) * depths)


def layout_of(read: Sequence[Tokens | str | Stamp]) -> Layout:
    """The shapes of what is read."""
    return tuple((piece.grid, piece.extra) if isinstance(piece, Tokens) else piece for piece in read)


def marked(read: Sequence[Tokens | str], text: TimeText | None, plan: Plan) -> list[Tokens | str | Stamp]:
    """What a resolution has arranged, with the text that belongs around a clip and between its slices.

    Args:
        read: Tokens of N clips, and text.
        text: None where nothing is written.
        plan: Of the clips.

    Raises:
        ValueError: If slices are to be told apart, and the resolution reads a clip in several pieces.
    """
    if text is None:
        return list(read)
    pieces: list[Tokens | str | Stamp] = list(read)
    if text.splits:
        if len(read) != 1 or not isinstance(read[0], Tokens):
            raise ValueError("`times` stand between slices of a clip, which is read in several pieces here")
        pieces = _slices(read[0], text, plan.frames)
    whole = Stamp("", 0, plan.frames - 1, 1, text.moment)
    return [*_stamp(whole, text.intro), *pieces, *_stamp(whole, text.outro)]


def _slices(tokens: Tokens, text: TimeText, frames: int) -> list[Tokens | str | Stamp]:
    """The slices of a clip with the text around each; tokens without a place stay behind the last."""
    count = tokens.grid.t
    per = -(-frames // count)
    pieces: list[Tokens | str | Stamp] = []
    for at, piece in enumerate(_apart(tokens)):
        about = Stamp("", at * per, min((at + 1) * per, frames) - 1, at + 1, text.moment)
        behind = text.after + (text.between if at < count - 1 else "")
        pieces += [*_stamp(about, text.before), piece, *_stamp(about, behind)]
    return pieces


def _stamp(about: Stamp, text: str) -> list[Stamp]:
    return [replace(about, text=text)] if text else []


def _apart(tokens: Tokens) -> list[Tokens]:
    """One piece for each step of time."""
    grid = tokens.grid
    one, row = Grid(1, grid.h, grid.w), grid.h * grid.w
    lengths = [row] * (grid.t - 1) + [row + tokens.extra]
    columns = zip(*(torch.split(x, lengths, dim=1) for x in (tokens.x, *tokens.deep)), strict=True)
    pieces = [Tokens(x, one, x.shape[1] - row, tuple(deep)) for x, *deep in columns]
    return pieces


def _without_content(resolution: Any) -> Any:
    """A resolution whose weights, if it has any, are shapes alone."""
    if not isinstance(resolution, nn.Module):
        return resolution
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype, device="meta"))
        for weight in resolution.parameters()
    }
    return copy.deepcopy(resolution, memo)
