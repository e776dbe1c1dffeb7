"""A small video tower: a convolutional stem, then transformer blocks whose video proxies see all frames.

The proxies are those of CLIP-ViP (Xue et al., 2022, "CLIP-ViP: Adapting Pre-trained Image-Text Model to
Video-Language Representation Alignment"): learned tokens that attend to every frame, while the cells of a
frame attend to their own frame and to the proxies. The stem in place of a patch embedding follows Xiao et
al., 2021, "Early Convolutions Help Transformers See Better"; it also reads the difference to the previous
frame, which is what shows small moving things. Normalisation is per clip, so a clip's features do not
depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vidapt.nouns import Features, Grid
from vidapt.parts import PartConfig
from vidapt.towers._proxies import told_apart

PATCH = 8
"""Pixels per cell: 4 by space-to-depth, 2 by the strided convolution."""


class Part(nn.Module):
    """Frames to cells of 8x8 pixels and video proxies; see the module's docstring for sources.

    Args:
        cfg: Sizes.

    Attributes:
        width: C.
        size: Native (height, width) in pixels.
        depth: Number of blocks.
        projected: Whether `pool` has mapped to the width that texts share: it has not.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    class Config(PartConfig):
        """Sizes of the tower.

        Attributes:
            size: Native (height, width) of a frame; multiples of 8.
            frames: Most frames of a clip.
            width: C.
            stem: Channels of the first convolution.
            blocks: Number of transformer blocks.
            heads: Attention heads; divides `width`.
            proxies: Number of video proxies.
            mean: Subtracted from pixels in 0..1, per channel.
            std: Divided by afterwards.
        """

        choices = frozenset({"mean", "std"})

        size: tuple[int, int] = (72, 128)
        frames: int = Field(18, ge=1)
        width: int = Field(96, ge=8, multiple_of=8)
        stem: int = Field(64, ge=8, multiple_of=8)
        blocks: int = Field(1, ge=0)
        heads: int = Field(4, ge=1)
        proxies: int = Field(4, ge=1)
        mean: tuple[float, float, float] = (0.4, 0.4, 0.4)
        std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    projected = False

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg, self.width, self.size, self.depth = cfg, cfg.width, cfg.size, cfg.blocks
        self.mean, self.std = cfg.mean, cfg.std
        grid = self.grid(cfg.frames, cfg.size)
        self.stem = _Stem(cfg.stem, cfg.width)
        self.place = nn.Parameter(torch.randn(grid.h, grid.w, cfg.width) * 0.02)
        self.time = nn.Parameter(torch.randn(cfg.frames, 1, 1, cfg.width) * 0.02)
        self.proxies = nn.Parameter(torch.randn(cfg.proxies, cfg.width) * 0.02)
        self.blocks = nn.ModuleList(_ProxyBlock(cfg.width, cfg.heads) for _ in range(cfg.blocks))
        self.norm = nn.LayerNorm(cfg.width)

    def grid(self, frames: int, view: tuple[int, int]) -> Grid:
        """Grid of the features of `frames` frames of `view` = (height, width) pixels."""
        return Grid(frames, view[0] // PATCH, view[1] // PATCH)

    def forward(self, views: Tensor) -> Features:
        """See N clips.

        Args:
            views: [N, T, 3, H, W] uint8, with (H, W) = `size` and T at most `frames`.

        Returns:
            x: [N, T, H/8, W/8, C]; extra: the proxies, [N, proxies, C].

        Raises:
            ValueError: If there are more frames than `frames`.
        """
        for state in self.states(views):
            last = state
        return self.features(last, self.grid(views.shape[1], (views.shape[-2], views.shape[-1])))

    def states(self, views: Tensor) -> Iterator[Tensor]:
        """The stem's cells, and then what each block makes of them; the last state is normalised.

        Args:
            views: As `forward` takes them.

        Yields:
            [N, proxies + T h w, C]: proxies, then cells frame by frame and row by row.

        Raises:
            ValueError: As `forward`.
        """
        n, t = views.shape[:2]
        if t > self.cfg.frames:
            raise ValueError(f"this tower takes at most {self.cfg.frames} frames, got {t}")
        cells = self.stem(self._pixels(views)) + self.place + self.time[:t]
        cells, proxies = cells.flatten(2, 3), self.proxies.expand(n, -1, -1)
        for block in self.blocks:
            yield torch.cat([proxies, cells.flatten(1, 2)], dim=1)
            cells, proxies = block(cells, proxies)
        yield self.norm(torch.cat([proxies, cells.flatten(1, 2)], dim=1))

    def features(self, state: Tensor, grid: Grid) -> Features:
        """Tell cells and proxies of a state apart.

        Args:
            state: One of `states`.
            grid: Of the cells.
        """
        return told_apart(state, self.cfg.proxies, grid)

    def pool(self, seen: Features) -> Tensor:
        """The vector that stands for the clip, before its projection: the mean of the proxies.

        Args:
            seen: What `forward` gave.

        Returns:
            [N, 1, C].
        """
        assert seen.extra is not None
        return seen.extra.mean(dim=1, keepdim=True)

    def _pixels(self, views: Tensor) -> Tensor:
        dtype = self.place.dtype
        mean = torch.tensor(self.mean, dtype=dtype, device=views.device).view(3, 1, 1)
        std = torch.tensor(self.std, dtype=dtype, device=views.device).view(3, 1, 1)
        return (views.to(dtype) / 255 - mean) / std


class _Stem(nn.Module):
    """Pixels and their change since the frame before, folded into cells."""

    def __init__(self, stem: int, width: int) -> None:
        super().__init__()
        self.fold = nn.Conv2d(2 * 3 * 16, stem, 1)
        self.down = nn.Conv2d(stem, width, 3, stride=2, padding=1, bias=False)
        self.mix = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(8, c) for c in (stem, width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, 3, H, W] normalised pixels -> [N, T, H/8, W/8, width]."""
        n, t, _, height, width = x.shape
        before = torch.cat([x[:, :1], x[:, :-1]], dim=1)
        both = torch.cat([x, x - before], dim=2).flatten(0, 1)
        y = F.relu(self.norms[0](self.fold(F.pixel_unshuffle(both, 4))))
        y = F.relu(self.norms[1](self.down(y)))
        y = y + F.relu(self.norms[2](self.mix(y)))
        return y.permute(0, 2, 3, 1).reshape(n, t, height // PATCH, width // PATCH, -1)


class _ProxyBlock(nn.Module):
    """One pre-norm transformer block with proxy-guided attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, cells: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor]:
        """Cells [N, T, S, C] and proxies [N, M, C], both changed."""
        n, t, s, c = cells.shape
        m = proxies.shape[1]
        q, k, v = self._heads(self.before_attention(cells).reshape(n, t * s, c))
        pq, pk, pv = self._heads(self.before_attention(proxies))
        seen = F.scaled_dot_product_attention(pq, torch.cat([pk, k], 2), torch.cat([pv, v], 2))
        frame_k = torch.cat([_per_frame(pk, t), _split(k, t)], 2)
        frame_v = torch.cat([_per_frame(pv, t), _split(v, t)], 2)
        own = F.scaled_dot_product_attention(_split(q, t), frame_k, frame_v)
        cells = cells + self.out(own.transpose(1, 2).reshape(n, t, s, c))
        proxies = proxies + self.out(seen.transpose(1, 2).reshape(n, m, c))
        return cells + self.mlp(self.before_mlp(cells)), proxies + self.mlp(self.before_mlp(proxies))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, L, C] -> q, k, v of [N, heads, L, C/heads]."""
        n, length, c = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return q, k, v


def _split(x: Tensor, t: int) -> Tensor:
    """[N, heads, T*S, d] -> [N*T, heads, S, d]."""
    n, heads, length, d = x.shape
    return x.reshape(n, heads, t, length // t, d).transpose(1, 2).reshape(n * t, heads, length // t, d)


def _per_frame(x: Tensor, t: int) -> Tensor:
    """[N, heads, M, d] -> [N*T, heads, M, d], the same for each frame."""
    return x.unsqueeze(1).expand(-1, t, -1, -1, -1).flatten(0, 1)


def tiny() -> Part:
    """The smallest sensible instance."""
    return Part(Part.Config(size=(16, 24), frames=3, width=16, stem=8, heads=2, proxies=2))
