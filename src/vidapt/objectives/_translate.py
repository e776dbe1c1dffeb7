"""From what one tower shows to what another one would show: a few convolutions, on the other one's grid."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidapt.nouns import Grid


class Translator(nn.Module):
    """A shallow network over the cells of each frame.

    Every layer is a norm over the channels of a cell, a convolution and a ReLU; a last norm and a linear map
    give the other tower's channels. The norms know nothing of the grid's size, so that any grid will do.

    Args:
        width_in: C of the cells.
        width_out: C of the other tower.
        hidden: Channels between.
        depth: Convolutions.
        kernel: Cells that each of them spans in height and width; 1 is a plain perceptron.
    """

    def __init__(self, width_in: int, width_out: int, *, hidden: int, depth: int, kernel: int) -> None:
        super().__init__()
        widths = [width_in, *[hidden] * depth]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, kernel, padding=kernel // 2) for a, b in pairwise(widths)
        )
        self.out = nn.Linear(widths[-1], width_out)

    def forward(self, cells: Tensor, grid: Grid) -> Tensor:
        """What the other tower would show.

        Args:
            cells: [N, t, h, w, width_in].
            grid: The other tower's.

        Returns:
            [N, *grid, width_out].
        """
        x = resample(cells, grid).flatten(0, 1)
        for norm, convolution in zip(self.norms[:-1], self.convolutions, strict=True):
            x = F.relu(convolution(norm(x).movedim(-1, 1)).movedim(1, -1))
        translated: Tensor = self.out(self.norms[-1](x))
        return translated.reshape(len(cells), grid.t, *translated.shape[1:])


def resample(x: Tensor, grid: Grid) -> Tensor:
    """Bring cells to another grid, axis by axis; as matrix products, whose gradients are always the same.

    Args:
        x: [N, t, h, w, C].
        grid: The wanted one.

    Returns:
        [N, *grid, C].
    """
    for axis, wanted in enumerate((grid.t, grid.h, grid.w), start=1):
        if x.shape[axis] != wanted:
            x = (shares(x.shape[axis], wanted).to(x) @ x.movedim(axis, -2)).movedim(-2, axis)
    return x


def shares(given: int, wanted: int) -> Tensor:
    """How much each of `given` cells in a row counts for each of `wanted` ones; rows sum to one.

    Fewer cells are means over what each of them covers; more are interpolated linearly between the middles.

    Returns:
        [wanted, given] float64.
    """
    cell, step = torch.arange(given, dtype=torch.float64), given / wanted
    place = torch.arange(wanted, dtype=torch.float64)[:, None]
    if wanted < given:
        low = place * step
        return (torch.minimum(low + step, cell + 1) - torch.maximum(low, cell)).clamp_min(0) / step
    middle = ((place + 0.5) * step - 0.5).clamp(0, given - 1)
    return (1 - (middle - cell).abs()).clamp_min(0)
