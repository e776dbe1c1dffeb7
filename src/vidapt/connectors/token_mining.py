"""Token mining: a few queries from one tower's frame features ask all that another tower saw of a clip.

Source: HiLight (motern88/HiLight, 2024); its report and released code. With features a of the second tower
and the patches and proxies s of the first one,

    q = Wq LN(a'),  K = Wk LN(s'),  V = Wv LN(s'),  token = out(softmax(q K^T / sqrt(A)) V)

in one head, without a residual. In the variant `released`, s' = ReLU(W s), `out` is LN and two linear layers
with a ReLU behind each, and each feature of A numbers is widened to E rows: every number becomes E numbers
by one and the same ReLU(Linear(1, E)), and the A x E numbers are read as E rows of A *without* a transpose.
So a row mixes A / E of the numbers instead of being one view of them all; `transposed` widens as seems to
have been meant. `v1` has a' = a, s' = s, and `out` is LN and one linear layer; `v2` is `v1` with the `out` of
`released`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vidapt.nouns import Features, Grid, Span, Tokens
from vidapt.parts import PartConfig


class Part(nn.Module):
    """Mining from two towers.

    Args:
        cfg: Variant and scale.
        width_in: C of the tower that is asked, and A of the one that asks.
        width_out: D, the language model's width.

    Raises:
        ValueError: If there are not exactly two towers.
    """

    class Config(PartConfig):
        """Variant and scale.

        Attributes:
            variant: See the module's docstring.
            rows: E, tokens that each feature becomes; `v1` and `v2` make one.
            like_words: Multiply the tokens by sqrt(D), as Gemma does with its word embeddings.
                transformers 4.38, under which HiLight was trained, did so with everything it was given to
                read; since 5.x it scales words alone.
        """

        choices = frozenset({"like_words"})

        variant: Literal["released", "transposed", "v1", "v2"] = "released"
        rows: int = Field(default=32, ge=1)
        like_words: bool = True

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        if isinstance(width_in, int) or len(width_in) != 2:
            raise ValueError(
                f"token_mining reads two towers, one that is asked and one that asks, got widths {width_in}"
            )
        asked, asking = width_in
        self.cfg = cfg
        self.query = nn.Sequential(nn.LayerNorm(asking), nn.Linear(asking, asking))
        self.key = nn.Sequential(nn.LayerNorm(asked), nn.Linear(asked, asking))
        self.value = nn.Sequential(nn.LayerNorm(asked), nn.Linear(asked, asking))
        self.widens = cfg.variant in ("released", "transposed")
        if self.widens:
            self.source = nn.Sequential(nn.Linear(asked, asked), nn.ReLU())
            self.widen = nn.Sequential(nn.Linear(1, cfg.rows), nn.ReLU())
        out: list[nn.Module] = [nn.LayerNorm(asking), nn.Linear(asking, width_out)]
        if cfg.variant != "v1":
            out += [nn.ReLU(), nn.Linear(width_out, width_out), nn.ReLU()]
        self.out = nn.Sequential(*out)
        self.scale = math.sqrt(width_out) if cfg.like_words else 1.0
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def plan(self, *grids: Grid) -> Span:
        """Say what `forward` will make of the two grids.

        Returns:
            Per frame of the asking tower its cells by `rows`, and no tokens without a place.

        Raises:
            ValueError: If there are not two grids.
        """
        _two(len(grids))
        asking = grids[1]
        return (Grid(asking.t, asking.h * asking.w, self.cfg.rows), 0) if self.widens else (asking, 0)

    def forward(self, *features: Features) -> Tokens:
        """Make tokens.

        Args:
            features: x [N, t, h, w, C] and the `extra` [N, e, C] of the tower that is asked, which are read
                alike; x [N, t', h', w', A] of the one that asks, whose `extra` is not read.

        Returns:
            Tokens with x [N, n, D], as `plan` promised.

        Raises:
            ValueError: If there are not two sets.
        """
        _two(len(features))
        seen, asking = features
        cells = seen.x.flatten(1, 3)
        source = cells if seen.extra is None else torch.cat([seen.extra, cells], dim=1)
        rows = asking.x.flatten(1, 3)
        if self.widens:
            source, rows = self.source(source), self._widen(rows)
        mined = F.scaled_dot_product_attention(self.query(rows), self.key(source), self.value(source))
        grid, extra = self.plan(seen.grid, asking.grid)
        return Tokens(self.out(mined) * self.scale, grid, extra)

    def _widen(self, rows: Tensor) -> Tensor:
        """[N, F, A] -> [N, F E, A]."""
        wide: Tensor = self.widen(rows.unsqueeze(-1))
        if self.cfg.variant == "transposed":
            wide = wide.transpose(-1, -2)
        return wide.reshape(len(rows), -1, rows.shape[-1])


def _two(count: int) -> None:
    if count != 2:
        raise ValueError(f"token_mining reads what two towers saw, got {count}")


def tiny() -> Part:
    """The smallest sensible instance: widths 16 and 16 to width 8, two tokens for each feature."""
    return Part(Part.Config(rows=2), width_in=(16, 16), width_out=8)
