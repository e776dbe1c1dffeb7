"""What Qwen's vision transformers do alike: patches that go through a few frames, and slices seen apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AutoConfig

from vidapt.nouns import Features, Grid
from vidapt.parts import possible
from vidapt.towers._pixels import normalise


class Described(Protocol):
    """What every such tower's configuration says."""

    @property
    def arch(self) -> dict[str, Any]:
        """A transformers vision config as a dict."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, for resolutions that cut to the tower's size."""

    @property
    def patches_at_once(self) -> int:
        """Patches computed together, in whole slices."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Per channel, in 0..1."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Per channel, in 0..1."""


class SliceTower(nn.Module, ABC):
    """A vision transformer over slices of a few frames.

    Patches attend to those of their own slice only, so slices are computed in chunks and a long clip needs
    no more working memory than a short one. The published model's mergers are not part of it; the connector
    `merge_mlp` is those.

    Args:
        cfg: Architecture and normalisation.
        model: The class of transformers.
        width: Name of the field of the architecture that is C.
        fixed: Entries of the architecture that the tower decides, whatever `cfg` says.

    Attributes:
        net: The transformers model, without its mergers.
        width: C.
        patch: Side of a patch in pixels.
        depth: Frames of a slice.
        size: (height, width) in pixels, for resolutions that cut to the tower's size.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    def __init__(self, cfg: Described, model: Any, *, width: str = "hidden_size", **fixed: Any) -> None:
        super().__init__()
        with possible("towers.arch"):
            config = AutoConfig.for_model(**{**cfg.arch, **fixed})
            # Float32 unless the caller converts: a dtype of a published config must not decide here.
            self.net = model._from_config(config, attn_implementation="sdpa", dtype=torch.float32)
            self.patch, self.depth = int(config.patch_size), int(config.temporal_patch_size)
        del self.net.merger
        self.width: int = getattr(config, width)
        self.size = cfg.size
        self.mean, self.std = cfg.mean, cfg.std
        self._at_once = cfg.patches_at_once

    def grid(self, frames: int, view: tuple[int, int]) -> Grid:
        """The grid that views of a size give; an incomplete last slice counts as a whole one.

        Args:
            frames: T.
            view: (height, width) in pixels.

        Raises:
            ValueError: If a side is not a whole number of patches.
        """
        if view[0] % self.patch or view[1] % self.patch:
            raise ValueError(
                f"views of {view[0]}x{view[1]} pixels do not divide into patches of {self.patch}"
            )
        return Grid(-(-frames // self.depth), view[0] // self.patch, view[1] // self.patch)

    def forward(self, views: Tensor) -> Features:
        """See the frames.

        Args:
            views: [N, T, 3, H, W] uint8, or float32 in 0..255. If T is not a multiple of the frames per
                slice, the last frame is repeated; so a still is seen as equal frames.

        Returns:
            Features with x, and each of `levels`, [N, t, h, w, C].

        Raises:
            ValueError: If a side is not a whole number of patches.
        """
        batch, frames = views.shape[:2]
        grid = self.grid(frames, (views.shape[-2], views.shape[-1]))
        within = torch.arange(self.depth, device=views.device)
        seen = []
        slices = torch.arange(batch * grid.t, device=views.device)
        for chunk in torch.split(slices, max(1, self._at_once // (grid.h * grid.w))):
            at = (chunk % grid.t)[:, None] * self.depth + within
            seen.append(self._see(views[chunk[:, None] // grid.t, at.clamp_max(frames - 1)], grid))
        shape = (batch, grid.t, grid.h, grid.w, self.width)
        x, *levels = (torch.cat(states).reshape(shape) for states in zip(*seen, strict=True))
        return Features(x, levels=tuple(levels))

    def _see(self, slices: Tensor, grid: Grid) -> tuple[Tensor, ...]:
        """[n, frames of a slice, 3, H, W] -> the last states [n * h * w, C], then those of each level."""
        pixels = normalise(slices, self.mean, self.std, self.net.patch_embed.proj.weight.dtype)
        return self._through(self.net.patch_embed(self._patches(pixels, grid)), grid, len(slices))

    @abstractmethod
    def _through(self, state: Tensor, grid: Grid, count: int) -> tuple[Tensor, ...]:
        """The layers: embedded patches [count * h * w, C] in natural order -> states, as `_see` returns."""

    def _rotary(self, state: Tensor, grid: Grid, count: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of every patch's row and column."""
        places = torch.cartesian_prod(torch.arange(grid.h), torch.arange(grid.w)).to(state.device)
        found: tuple[Tensor, Tensor] = self.net.rotary_pos_emb(state, places.repeat(count, 1))
        return found

    def _patches(self, slices: Tensor, grid: Grid) -> Tensor:
        """Patches row by row, each flat in the order channel, frame, row, column: [n * h * w, pixels].

        The original orders them by 2 x 2 blocks, for its merger's sake. To attention the order is nothing.
        """
        n, p = len(slices), self.patch
        split = slices.reshape(n, self.depth, 3, grid.h, p, grid.w, p)
        return split.permute(0, 3, 5, 2, 1, 4, 6).reshape(n * grid.h * grid.w, -1)


def apart(cells: int, count: int, device: torch.device) -> Tensor:
    """[count + 1] int32: where each of so many slices of so many cells ends, as transformers is told it."""
    return torch.arange(0, (count + 1) * cells, cells, dtype=torch.int32, device=device)
