"""Patch info mining: every low-resolution cell asks the high-resolution cells that lie inside it.

Source: Mini-Gemini (Li et al. 2024, arXiv 2403.18814), with its published code for what the paper leaves
open: with cell x of the coarse map and the cells H of the fine map that cover the same part of the picture,

    q = Wq LN(x),  K = Wk LN(H),  V = Wv LN(H),  token = MLP(x + softmax(q K^T / sqrt(C)) V)

where C is the coarse tower's width and all of q, K, V have it. One head, no projection of what was mined.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vidapt.nouns import Features, Grid, Span, Tokens
from vidapt.parts import PartConfig


class Part(nn.Module):
    """Mining and an MLP. The number of tokens is that of the coarse map, whatever the fine one holds.

    Args:
        cfg: The MLP.
        width_in: C of the coarse tower and of the fine one.
        width_out: D, the language model's width.

    Raises:
        ValueError: If there are not exactly two towers.
    """

    class Config(PartConfig):
        """The MLP.

        Attributes:
            depth: Linear layers, with exact GELU between them; 1 is a linear map.
            frames_at_once: Frames mined together; bounds memory, does not change the result.
        """

        choices = frozenset({"frames_at_once"})

        depth: int = Field(default=2, ge=1)
        frames_at_once: int = Field(default=1, ge=1)

    local = True  # each token stands for the part of the clip in which it lies

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        if isinstance(width_in, int) or len(width_in) != 2:
            raise ValueError(f"patch_mining reads two towers, a coarse and a fine one, got widths {width_in}")
        coarse, fine = width_in
        self.cfg = cfg
        self.query = nn.Sequential(nn.LayerNorm(coarse), nn.Linear(coarse, coarse))
        self.key = nn.Sequential(nn.LayerNorm(fine), nn.Linear(fine, coarse))
        self.value = nn.Sequential(nn.LayerNorm(fine), nn.Linear(fine, coarse))
        layers: list[nn.Module] = [nn.Linear(coarse, width_out)]
        for _ in range(cfg.depth - 1):
            layers += [nn.GELU(), nn.Linear(width_out, width_out)]
        self.mlp = nn.Sequential(*layers)

    def plan(self, *grids: Grid) -> Span:
        """Say what `forward` will make of a coarse and a fine grid.

        Raises:
            ValueError: If the fine grid does not divide into the cells of the coarse one.
        """
        _two(len(grids))
        coarse, fine = grids
        _inside(coarse, fine)
        return coarse, 0

    def forward(self, *features: Features) -> Tokens:
        """Make tokens.

        Args:
            features: Coarse features with x [N, t, h, w, C] and fine ones with x [N, t, a h, b w, C'].
                Tokens without a place (`extra`) are not read.

        Returns:
            Tokens with x [N, t h w, D].

        Raises:
            ValueError: As `plan`.
        """
        _two(len(features))
        coarse, fine = features
        across = _inside(coarse.grid, fine.grid)
        frames = [torch.split(x.flatten(0, 1), self.cfg.frames_at_once) for x in (coarse.x, fine.x)]
        made = torch.cat([self._mine(x, maps, across) for x, maps in zip(*frames, strict=True)])
        return Tokens(made.reshape(len(coarse.x), coarse.grid.cells, -1), coarse.grid)

    def _mine(self, x: Tensor, maps: Tensor, across: tuple[int, int]) -> Tensor:
        """[n, h, w, C] and [n, a h, b w, C'] -> [n, h, w, D]."""
        inside = _cut(maps, across)
        query = self.query(x).unsqueeze(-2)
        mined = F.scaled_dot_product_attention(query, self.key(inside), self.value(inside))
        made: Tensor = self.mlp(x + mined.squeeze(-2))
        return made


def _cut(maps: Tensor, across: tuple[int, int]) -> Tensor:
    """[n, a h, b w, C] -> [n, h, w, a b, C]: the fine cells in each coarse one, row by row."""
    a, b = across
    n, height, width, channels = maps.shape
    return maps.reshape(n, height // a, a, width // b, b, channels).transpose(2, 3).flatten(3, 4)


def _inside(coarse: Grid, fine: Grid) -> tuple[int, int]:
    """How many fine cells lie in a coarse one, down and across."""
    if coarse.t != fine.t or fine.h % coarse.h or fine.w % coarse.w:
        raise ValueError(
            f"a fine map of {fine.t}x{fine.h}x{fine.w} cells does not divide into the cells of a coarse one "
            f"of {coarse.t}x{coarse.h}x{coarse.w}"
        )
    return fine.h // coarse.h, fine.w // coarse.w


def _two(count: int) -> None:
    if count != 2:
        raise ValueError(f"patch_mining reads a coarse and a fine map, got {count}")


def tiny() -> Part:
    """The smallest sensible instance: widths 16 and 16 to width 8."""
    return Part(Part.Config(), width_in=(16, 16), width_out=8)
