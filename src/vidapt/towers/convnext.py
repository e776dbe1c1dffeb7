"""A ConvNeXt whose four stages are read together, as one fine map of many channels.

Source: ConvNeXt (Liu et al. 2022, arXiv 2201.03545). Reading the four stage maps enlarged to the finest one
and laid behind each other is Mini-Gemini's high-resolution tower (Li et al. 2024, arXiv 2403.18814): of
OpenCLIP's ConvNeXt-L it gives 192 + 384 + 768 + 1536 = 2880 channels at a quarter of the picture's side.
Neither the pooled head nor its norm is part of it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from vidapt.nouns import Features, Grid
from vidapt.parts import PartConfig, possible
from vidapt.towers._pixels import frame_by_frame, normalise
from vidapt.towers.frame_vit import CLIP_MEAN, CLIP_STD


class Part(nn.Module):
    """A frame-by-frame convolutional tower.

    One frame of 768 x 768 pixels becomes a map of 192 x 192 x 2880 numbers, 425 MB in float32: it is the
    features of this tower, not its weights, that decide how many frames fit into memory.

    Args:
        cfg: Architecture and normalisation.

    Attributes:
        stem: The convolution that makes patches, and its norm.
        stages: The stages, each half as fine as the one before.
        width: C, the channels of all stages together.
        size: Native (height, width) in pixels. Being convolutional, it takes others.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    class Config(PartConfig):
        """Architecture and normalisation.

        Attributes:
            arch: A transformers ConvNeXt config as a dict, with `model_type: convnext`.
            frames_at_once: Frames computed together; bounds memory, does not change the result.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        choices = frozenset({"frames_at_once", "mean", "std"})

        arch: dict[str, Any]
        frames_at_once: int = Field(default=4, ge=1)
        mean: tuple[float, float, float] = CLIP_MEAN
        std: tuple[float, float, float] = CLIP_STD

        @field_validator("arch")
        @classmethod
        def _known(cls, arch: dict[str, Any]) -> dict[str, Any]:
            if arch.get("model_type") != "convnext":
                raise ValueError(f"model_type {arch.get('model_type')!r} is unknown; known: convnext")
            return arch

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        with possible("towers.arch"):
            config = AutoConfig.for_model(**cfg.arch)
            # Float32 unless the caller converts: a dtype of a published config must not decide here.
            net = AutoModel.from_config(config, dtype=torch.float32)
        self.stem, self.stages = net.embeddings, net.encoder.stages
        self.width: int = sum(config.hidden_sizes)
        self.patch: int = config.patch_size
        self.size: tuple[int, int] = (config.image_size, config.image_size)
        self.mean, self.std = cfg.mean, cfg.std
        self._smallest = self.patch * 2 ** (len(self.stages) - 1)

    def grid(self, frames: int, view: tuple[int, int]) -> Grid:
        """The grid that views of a size give, which is that of the first stage.

        Args:
            frames: T.
            view: (height, width) in pixels.

        Raises:
            ValueError: If the view is too small for the last stage to see anything.
        """
        if min(view) < self._smallest:
            raise ValueError(f"this tower needs {self._smallest} pixels a side, got {view[0]}x{view[1]}")
        return Grid(frames, view[0] // self.patch, view[1] // self.patch)

    def forward(self, views: Tensor) -> Features:
        """See the frames.

        Args:
            views: [N, T, 3, H, W] uint8, or floats in 0..255.

        Returns:
            Features with x [N, T, h, w, C]: for each cell of the first stage its channels, then those of
            the second stage and so on, interpolated bilinearly at the cell's place.
        """
        return Features(frame_by_frame(views, self._see, self.cfg.frames_at_once))

    def _see(self, frames: Tensor) -> Tensor:
        """[n, 3, H, W] -> [n, h, w, C]."""
        dtype = self.stem.patch_embeddings.weight.dtype
        state: Tensor = self.stem(normalise(frames, self.mean, self.std, dtype))
        maps: list[Tensor] = []
        for stage in self.stages:
            state = stage(state)
            maps.append(_enlarge(state, maps[0]) if maps else state)
        return torch.cat(maps, dim=1).permute(0, 2, 3, 1)


def _enlarge(coarse: Tensor, fine: Tensor) -> Tensor:
    """[n, c, ?, ?] at the size of [n, ?, h, w]; in no fewer than 32 bits, as the original does."""
    exact = coarse.to(torch.promote_types(coarse.dtype, torch.float32))
    size = (fine.shape[-2], fine.shape[-1])
    return F.interpolate(exact, size=size, mode="bilinear", align_corners=False).to(coarse.dtype)


def tiny() -> Part:
    """The smallest sensible instance: four stages of one block, 16 channels in all, random weights."""
    arch = {
        "model_type": "convnext",
        "hidden_sizes": [2, 4, 4, 6],
        "depths": [1, 1, 1, 1],
        "image_size": 32,
        "layer_scale_init_value": 0.5,
    }
    return Part(Part.Config(arch=arch))
