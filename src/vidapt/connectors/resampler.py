"""A fixed number of learned queries reads each picture, or a few frames together, in one cross-attention.

Source: the resampler of MiniCPM-V 2.6 (Yao et al. 2024, arXiv 2408.01800), after Qwen-VL (Bai et al. 2023,
arXiv 2308.12966), and the 3D resampler of MiniCPM-V 4.5 (Yu et al. 2025, arXiv 2509.18154), which adds a
position in time and joins up to six frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidapt.connectors._towers import one_tower
from vidapt.nouns import Features, Grid, Moments, Tokens
from vidapt.parts import PartConfig

_EPS = 1e-6
_TICK_S = 0.1
"""Seconds of one step of the positions in time."""


class Part(nn.Module):
    """Queries, one cross-attention, and a linear map.

    Positions are sines and cosines, added to the keys only: neither queries nor values know a place. They
    are computed, not saved.

    Args:
        cfg: Number of queries, width of the heads, and frames read together.
        width_in: C, the tower's width.
        width_out: D, the language model's width.

    Attributes:
        timed: Whether it reads when frames were.

    Raises:
        ValueError: If the width does not divide into heads, or not into sines and cosines of two sides.
    """

    class Config(PartConfig):
        """Number of queries, width of the heads, and frames read together.

        Attributes:
            queries: Tokens each picture becomes.
            head_width: Channels of one head of the attention.
            join: Frames whose keys are read together; the last of a clip may be fewer.
            seconds: From one frame to the next, where nobody knows when the frames were. Adds to the keys of
                a clip of several frames their position in time, in tenths of a second; None adds none.
            groups_at_once: Pictures (or groups of joined frames) computed together; bounds memory, does
                not change the result.
        """

        choices = frozenset({"join", "seconds", "groups_at_once"})

        queries: int = Field(default=64, ge=1)
        head_width: int = Field(default=128, ge=1)
        join: int = Field(default=1, ge=1, le=6)
        seconds: float | None = Field(default=None, gt=0)
        groups_at_once: int = Field(default=16, ge=1)

        @model_validator(mode="after")
        def _joined_frames_have_times(self) -> Part.Config:
            if self.join > 1 and self.seconds is None:
                raise ValueError("`join` needs `seconds`: frames read together are told apart by their times")
            return self

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        width_in = one_tower("resampler", width_in)
        if width_out % cfg.head_width or width_out % 4:
            raise ValueError(
                f"a width of {width_out} does not divide into heads of {cfg.head_width}, or by 4"
            )
        self.cfg = cfg
        self.timed = cfg.seconds is not None
        self.query = nn.Parameter(torch.randn(cfg.queries, width_out) * 0.02)
        same = width_in == width_out
        self.kv_proj = nn.Identity() if same else nn.Linear(width_in, width_out, bias=False)
        self.attn = nn.MultiheadAttention(width_out, width_out // cfg.head_width, batch_first=True)
        self.ln_q = nn.LayerNorm(width_out, eps=_EPS)
        self.ln_kv = nn.LayerNorm(width_out, eps=_EPS)
        self.ln_post = nn.LayerNorm(width_out, eps=_EPS)
        self.proj = nn.Parameter(torch.randn(width_out, width_out) / math.sqrt(width_out))

    def plan(self, grid: Grid) -> tuple[Grid, int]:
        """Say what `forward` will make of a grid.

        Returns:
            One row of tokens per picture or group of joined frames, and none without a place.
        """
        return Grid(math.ceil(grid.t / self.cfg.join), 1, self.cfg.queries), 0

    def forward(self, *features: Features, moments: Sequence[Moments] = ()) -> Tokens:
        """Make tokens.

        Args:
            features: One set of features with x [N, t, h, w, C].
            moments: When the t frames of each clip were; empty where nobody knows.

        Returns:
            Tokens with x [N, n, D], as `plan` promised.

        Raises:
            ValueError: If there is not exactly one set, or it has tokens without a place.
        """
        if len(features) != 1 or features[0].extra is not None:
            raise ValueError(f"resampler reads one tower's cells and nothing else, got {len(features)} sets")
        (seen,) = features
        grid, extra = self.plan(seen.grid)
        times = self._times(moments, seen.x)
        whole = seen.grid.t // self.cfg.join * self.cfg.join
        pieces = [self._read(seen.x[:, :whole], times[:, :whole], self.cfg.join)] if whole else []
        if whole < seen.grid.t:
            pieces.append(self._read(seen.x[:, whole:], times[:, whole:], seen.grid.t - whole))
        return Tokens(torch.cat(pieces, dim=1), grid, extra)

    def _read(self, x: Tensor, times: Tensor, join: int) -> Tensor:
        """[N, t, h, w, C] and times [N, t, D], t a multiple of `join` -> [N, t / join * queries, D]."""
        clips, frames, height, width = x.shape[:4]
        place = _plane(height, width, self.proj.shape[0]).to(x)
        groups = x.reshape(-1, join, height * width, x.shape[-1])
        moments = times.reshape(-1, join, 1, times.shape[-1])
        chunk = self.cfg.groups_at_once
        made = [
            self._attend(group, place + moment)
            for group, moment in zip(torch.split(groups, chunk), torch.split(moments, chunk), strict=True)
        ]
        return torch.cat(made).reshape(clips, frames // join * self.cfg.queries, -1)

    def _attend(self, cells: Tensor, positions: Tensor) -> Tensor:
        """[g, join, h * w, C] and positions [g, join, h * w, D] -> [g, queries, D]."""
        values = self.ln_kv(self.kv_proj(cells))
        keys = (values + positions).flatten(1, 2)
        queries = self.ln_q(self.query).expand(len(cells), -1, -1)
        read, _ = self.attn(queries, keys, values.flatten(1, 2), need_weights=False)
        made = self.ln_post(read) @ self.proj
        assert isinstance(made, Tensor)
        return made

    def _times(self, moments: Sequence[Moments], like: Tensor) -> Tensor:
        """[N, t, D]: positions in time of x [N, t, ...]; of stills, or where there are none, zeros."""
        (clips, frames), width = like.shape[:2], self.proj.shape[0]
        if self.cfg.seconds is None or frames == 1:
            return like.new_zeros(clips, frames, width)
        steady = tuple(at * self.cfg.seconds for at in range(frames))
        seconds = [one.seconds for one in moments] or [steady] * clips
        ticks = np.rint(np.array(seconds) / _TICK_S)
        return _waves(ticks.flatten(), width).to(like).reshape(clips, frames, width)


def _plane(height: int, width: int, channels: int) -> Tensor:
    """[h * w, D] float32: the first half of the channels tells the column, the second the row."""
    columns = _waves(np.arange(width), channels // 2).expand(height, width, -1)
    rows = _waves(np.arange(height), channels // 2)[:, None].expand(height, width, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1)


def _waves(places: np.ndarray, channels: int) -> Tensor:
    """[n] places -> [n, channels] float32: sines, then cosines, of falling frequency.

    Computed in 32 bits as the original does, whose rounding shows far from the start of a film.
    """
    steps = np.arange(channels // 2, dtype=np.float32) / (channels / 2)
    angles = places.astype(np.float32)[:, None] * (1.0 / 10000**steps).astype(np.float32)
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=-1))


def tiny() -> Part:
    """The smallest sensible instance: three queries, pairs of frames, width 16 to width 8."""
    return Part(Part.Config(queries=3, head_width=4, join=2, seconds=0.5), width_in=16, width_out=8)
