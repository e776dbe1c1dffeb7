"""Clips as they would look if what is not read were not there: cells and frames that stay as last read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vidapt.models.pruning import chosen
from vidapt.nouns import Grid
from vidapt.recipe import Prune

CELLS = (9, 16)
"""Rows and columns of cells; the shipped tower's."""

Changes = Callable[[Tensor, Grid], Tensor]


def drawn_changes(view: Tensor, grid: Grid) -> Tensor:
    """Changes by chance, the same for the same pixels, in the place of `pruning.cell_changes`."""
    generator = torch.Generator().manual_seed(int(view.long().sum()))
    return torch.rand(grid.t, grid.h, grid.w, generator=generator)


def footage_of(arm: Mapping[str, Any], changes: Changes) -> Callable[[Tensor], Tensor]:
    """What an arm shows of [T, H, W, 3] uint8 pixels."""
    if "keep" in arm:
        return lambda pixels: held_cells(pixels, arm["keep"], changes)
    if "frames" in arm:
        return lambda pixels: held_frames(pixels, arm["frames"])
    return lambda pixels: coarser(pixels, arm["coarse"])


def held_cells(pixels: Tensor, share: float, changes: Changes) -> Tensor:
    """Every cell that would be left out has the pixels with which it was last read."""
    grid = Grid(len(pixels), *CELLS)
    found = changes(pixels.permute(0, 3, 1, 2), grid)
    found[0] = 1e6
    read = torch.zeros(grid.cells, dtype=torch.bool)
    read[list(chosen(found.flatten(), Prune(keep=share)))] = True
    at = torch.arange(grid.t)[:, None, None].where(read.reshape(grid.t, *CELLS), 0).cummax(0).values
    wide = F.interpolate(at[None].float(), size=pixels.shape[1:3], mode="nearest")[0].long()
    return pixels.gather(0, wide[..., None].expand_as(pixels))


def held_frames(pixels: Tensor, share: float) -> Tensor:
    """As many frames at even distances, each of which stays until the next one."""
    count = max(1, round(len(pixels) * share))
    first = (torch.arange(len(pixels)) * count // len(pixels)).float()
    starts = (torch.arange(count) * len(pixels) / count).ceil().long()
    return pixels[starts[first.long()]]


def coarser(pixels: Tensor, share: float) -> Tensor:
    """As many pixels fewer, and each as much larger."""
    frames = pixels.permute(0, 3, 1, 2).float()
    height, width = (max(1, round(side * share**0.5)) for side in frames.shape[2:])
    small = F.adaptive_avg_pool2d(frames, (height, width))
    large = F.interpolate(small, size=frames.shape[2:], mode="bilinear", antialias=False)
    return large.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
