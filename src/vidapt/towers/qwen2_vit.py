"""Qwen2-VL's vision transformer, which sees frames of any size and two of them at a time.

Source: Wang et al. 2024, arXiv 2409.12191, section 2.1: patches of 2 frames x 14 x 14 pixels, rotary
positions by row and column. The blocks are transformers' own.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from transformers import AutoConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

from vidapt.nouns import Features, Grid
from vidapt.parts import PartConfig, possible
from vidapt.towers._pixels import normalise
from vidapt.towers.frame_vit import CLIP_MEAN, CLIP_STD

_ARCH = "qwen2_vl_vision"


class Part(nn.Module):
    """A vision transformer over slices of two frames.

    Patches attend to those of their own slice only, so slices are computed in chunks and a long clip needs
    no more working memory than a short one. The published model's merger is not part of it; the connector
    `merge_mlp` is that.

    Args:
        cfg: Architecture and normalisation.

    Attributes:
        net: The transformers model, without its merger.
        width: C.
        size: (height, width) in pixels, for resolutions that cut to the tower's size.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    class Config(PartConfig):
        """Architecture and normalisation.

        Attributes:
            arch: A transformers vision config as a dict; `model_type` is `qwen2_vl_vision`.
            size: (height, width) in pixels that resolutions cut to which do not choose a size themselves.
            patches_at_once: Patches computed together, in whole slices; bounds memory, does not change
                the result.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        choices = frozenset({"size", "patches_at_once", "mean", "std"})

        arch: dict[str, Any]
        size: tuple[int, int] = (224, 224)
        patches_at_once: int = Field(default=8192, ge=1)
        mean: tuple[float, float, float] = CLIP_MEAN
        std: tuple[float, float, float] = CLIP_STD

        @field_validator("arch")
        @classmethod
        def _known(cls, arch: dict[str, Any]) -> dict[str, Any]:
            if arch.get("model_type") != _ARCH:
                raise ValueError(f"model_type {arch.get('model_type')!r} is unknown; use {_ARCH!r}")
            return arch

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        with possible("towers.arch"):
            config = AutoConfig.for_model(**cfg.arch)
            # Float32 unless the caller converts: a dtype of a published config must not decide here.
            self.net = Qwen2VisionTransformerPretrainedModel._from_config(
                config, attn_implementation="sdpa", dtype=torch.float32
            )
        del self.net.merger
        self.width: int = config.embed_dim
        self.patch: int = config.patch_size
        self.depth: int = config.temporal_patch_size
        self.size = cfg.size
        self.mean, self.std = cfg.mean, cfg.std

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
                slice, the last frame is repeated; so a still is seen as two equal frames.

        Returns:
            Features with x [N, t, h, w, C].

        Raises:
            ValueError: If a side is not a whole number of patches.
        """
        batch, frames = views.shape[:2]
        grid = self.grid(frames, (views.shape[-2], views.shape[-1]))
        within = torch.arange(self.depth, device=views.device)
        seen = []
        slices = torch.arange(batch * grid.t, device=views.device)
        for chunk in torch.split(slices, max(1, self.cfg.patches_at_once // (grid.h * grid.w))):
            at = (chunk % grid.t)[:, None] * self.depth + within
            seen.append(self._see(views[chunk[:, None] // grid.t, at.clamp_max(frames - 1)], grid))
        return Features(torch.cat(seen).reshape(batch, grid.t, grid.h, grid.w, self.width))

    def _see(self, slices: Tensor, grid: Grid) -> Tensor:
        """[n, frames of a slice, 3, H, W] -> [n * h * w, C]."""
        count, cells = len(slices), grid.h * grid.w
        pixels = normalise(slices, self.mean, self.std, self.net.patch_embed.proj.weight.dtype)
        state: Tensor = self.net.patch_embed(self._patches(pixels, grid))
        places = torch.cartesian_prod(torch.arange(grid.h), torch.arange(grid.w)).to(slices.device)
        rotary = self.net.rotary_pos_emb(state, places.repeat(count, 1))
        ends = torch.arange(0, (count + 1) * cells, cells, dtype=torch.int32, device=slices.device)
        for block in self.net.blocks:
            state = block(state, cu_seqlens=ends, max_seqlen=cells, position_embeddings=rotary)
        return state

    def _patches(self, slices: Tensor, grid: Grid) -> Tensor:
        """Patches row by row, each flat in the order channel, frame, row, column: [n * h * w, pixels].

        The original orders them by 2 x 2 blocks, for its merger's sake. To attention the order is nothing.
        """
        n, p = len(slices), self.patch
        split = slices.reshape(n, self.depth, 3, grid.h, p, grid.w, p)
        return split.permute(0, 3, 5, 2, 1, 4, 6).reshape(n * grid.h * grid.w, -1)


def tiny() -> Part:
    """The smallest sensible instance: two layers, patches of 4 x 4 pixels, random weights."""
    arch = {
        "model_type": _ARCH,
        "depth": 2,
        "embed_dim": 16,
        "hidden_size": 8,
        "mlp_ratio": 2,
        "num_heads": 2,
        "patch_size": 4,
    }
    return Part(Part.Config(arch=arch, size=(8, 16)))
