"""The shipped tower and connector, made to read only some of a clip's cells.

Of a cell that is left out nothing goes on: no slot looks there, and neither do the tower's proxies, which
would otherwise tell of it round about. As in vidapt's own pruning the tower sees the whole clip, and the
choice is by pixels. With every cell read they compute what the shipped parts do, and take their weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from _pruning_shown import drawn_changes
from pydantic import Field
from torch import Tensor, nn

from vidapt.connectors import track
from vidapt.models.pruning import cell_changes, chosen
from vidapt.nouns import Features, Grid
from vidapt.recipe import Prune
from vidapt.towers import conv_vip

ALWAYS = 1e6
"""Change of what is read in any case, as in `vidapt.models.pruning`."""


class Tower(conv_vip.Part):
    """The shipped tower, whose cells are zeros where they are left out; no cell that is read is all zeros."""

    class Config(conv_vip.Part.Config):
        """Which cells are read.

        Attributes:
            keep: Share of cells; None with a `threshold`, or for all.
            threshold: Change above which a cell is read.
            by: What is read: what changes most, cells drawn by chance, or whole frames at even distances,
                as many as are at least that share. The first frame is read in any case.
        """

        keep: float | None = Field(None, gt=0, le=1)
        threshold: float | None = Field(None, ge=0, lt=1)
        by: Literal["change", "chance", "frames"] = "change"

    cfg: Config

    def forward(self, views: Tensor) -> Features:
        """See N clips: [N, T, 3, H, W] uint8 to cells [N, T, h, w, C] and proxies [N, proxies, C]."""
        grid = self.grid(views.shape[1], (views.shape[-2], views.shape[-1]))
        read = torch.stack([cells_read(clip, grid, self.cfg) for clip in views])
        seen = super().forward(views)
        if bool(read.all()):
            return seen
        proxies = self.norm(self._proxies(views, read.flatten(1)))
        return Features(seen.x * read.unsqueeze(-1), proxies)

    def _proxies(self, views: Tensor, read: Tensor) -> Tensor:
        """[N, proxies, C]: what they are where they attend to each other and to cells [N, cells] alone."""
        if len(self.blocks) != 1:
            raise ValueError("cells behind the first of several blocks know of those that are left out")
        (block,) = self.blocks
        cells = self.stem(self._pixels(views)) + self.place + self.time[: views.shape[1]]
        proxies = self.proxies.expand(len(views), -1, -1)
        both = torch.cat([proxies, cells.flatten(1, 3)], dim=1)
        q, k, v = block._heads(block.before_attention(both))
        seen = F.pad(read, (proxies.shape[1], 0), value=True)[:, None, None]
        q = q[:, :, : proxies.shape[1]]
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        proxies = proxies + block.out(found.transpose(1, 2).flatten(2))
        changed: Tensor = proxies + block.mlp(block.before_mlp(proxies))
        return changed


class Slots(track.Part):
    """The shipped connector, whose slots do not look where cells are zeros."""

    class Config(track.Part.Config):
        """As the shipped one's."""

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__(cfg, width_in=width_in, width_out=width_out)
        self.score = _Score(self.score.in_features, cfg.slots)


class _Score(nn.Linear):
    """Scores of cells; of those that are left out they are so low that they weigh nothing."""

    def forward(self, cells: Tensor) -> Tensor:
        left_out = (cells == 0).all(-1, keepdim=True)
        return super().forward(cells).masked_fill(left_out, float("-inf"))


def cells_read(clip: Tensor, grid: Grid, cfg: Tower.Config) -> Tensor:
    """Which cells of a clip are read.

    Args:
        clip: [T, 3, H, W], 0 to 255.
        grid: Its cells.
        cfg: How many, and by what.

    Returns:
        [t, h, w] bool.
    """
    if cfg.keep is None and cfg.threshold is None:
        return torch.ones(grid.t, grid.h, grid.w, dtype=torch.bool)
    if cfg.by == "frames":
        assert cfg.keep is not None
        count = max(1, -int(-grid.t * cfg.keep // 1))
        frames = torch.zeros(grid.t, dtype=torch.bool)
        frames[(torch.arange(count) * grid.t / count).long()] = True
        return frames[:, None, None].expand(-1, grid.h, grid.w)
    changes = _CHANGES[cfg.by](clip, grid)
    changes[0] = ALWAYS
    read = torch.zeros(grid.cells, dtype=torch.bool)
    read[list(chosen(changes.flatten(), Prune(keep=cfg.keep, threshold=cfg.threshold)))] = True
    return read.reshape(grid.t, grid.h, grid.w)


_CHANGES: dict[str, Callable[[Tensor, Grid], Tensor]] = {"change": cell_changes, "chance": drawn_changes}
