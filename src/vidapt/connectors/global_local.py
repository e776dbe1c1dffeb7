"""Two towers, two MLPs: what was seen of the whole frame, then what was seen of it closely.

Source: Ferret-v2 (Zhang et al. 2024, arXiv 2404.07973): CLIP's features of the whole picture and DINOv2's
of its tiles differ in kind, so each has an MLP of its own; the merged map of the tiles is flattened and
joined behind the tokens of the whole. The second MLP starts from the first one's weights.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidapt.nouns import Features, Grid, Span, Tokens
from vidapt.parts import PartConfig


class Part(nn.Module):
    """Two MLPs whose tokens are read frame by frame.

    Args:
        cfg: The MLPs.
        width_in: C of the tower that sees the whole, and of the one that sees closely.
        width_out: D, the language model's width.

    Raises:
        ValueError: If there are not exactly two towers, or the second MLP cannot start from the first.
    """

    class Config(PartConfig):
        """The MLPs.

        Attributes:
            depth: Linear layers of each, with exact GELU between them; 1 is a linear map.
            bias: Whether the linear layers have one.
            local_start: What the second MLP starts from when nothing is loaded: values of its own, or the
                first one's, which needs towers of one width.
        """

        choices = frozenset({"local_start"})

        depth: int = Field(default=2, ge=1)
        bias: bool = True
        local_start: Literal["own", "global"] = "own"

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        if isinstance(width_in, int) or len(width_in) != 2:
            raise ValueError(
                f"global_local reads two towers, of the whole and of tiles, got widths {width_in}"
            )
        self.cfg = cfg
        self.mlp_global, self.mlp_local = (_mlp(cfg, width, width_out) for width in width_in)
        if cfg.local_start == "global":
            self.start_local_from_global()

    def start_local_from_global(self) -> None:
        """Copy the first MLP's weights to the second, as Ferret-v2 does when its tiles come in.

        Raises:
            ValueError: If the towers differ in width.
        """
        first, second = self.mlp_global.state_dict(), self.mlp_local.state_dict()
        if [tuple(t.shape) for t in first.values()] != [tuple(t.shape) for t in second.values()]:
            raise ValueError("`local_start: global` needs towers of one width")
        self.mlp_local.load_state_dict(first)

    def plan(self, *grids: Grid) -> Span:
        """Say what `forward` will make of the whole's grid and the merged tiles' grid.

        Returns:
            One row of cells per frame: the whole's, then the tiles', each row by row.

        Raises:
            ValueError: If the two are not of the same frames.
        """
        _two(len(grids))
        near, far = grids[1], grids[0]
        if near.t != far.t:
            raise ValueError(f"the whole has {far.t} frames, the tiles have {near.t}")
        return Grid(far.t, 1, far.h * far.w + near.h * near.w), 0

    def forward(self, *features: Features) -> Tokens:
        """Make tokens.

        Args:
            features: Of the whole with x [N, t, h, w, C], of the merged tiles with x [N, t, h', w', C'].
                Tokens without a place (`extra`) are not read.

        Returns:
            Tokens with x [N, t (h w + h' w'), D].

        Raises:
            ValueError: As `plan`.
        """
        _two(len(features))
        far, near = features
        grid, _ = self.plan(far.grid, near.grid)
        cells = [self.mlp_global(far.x).flatten(2, 3), self.mlp_local(near.x).flatten(2, 3)]
        joined: Tensor = torch.cat(cells, dim=2)
        return Tokens(joined.flatten(1, 2), grid)


def _mlp(cfg: Part.Config, width_in: int, width_out: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(width_in, width_out, bias=cfg.bias)]
    for _ in range(cfg.depth - 1):
        layers += [nn.GELU(), nn.Linear(width_out, width_out, bias=cfg.bias)]
    return nn.Sequential(*layers)


def _two(count: int) -> None:
    if count != 2:
        raise ValueError(f"global_local reads what was seen of the whole and of tiles, got {count}")


def tiny() -> Part:
    """The smallest sensible instance: widths 16 and 16 to width 8."""
    return Part(Part.Config(), width_in=(16, 16), width_out=8)
