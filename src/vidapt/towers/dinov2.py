"""DINOv2: a vision transformer trained without words, which keeps fine local detail.

Source: DINOv2 (Oquab et al. 2023, arXiv 2304.07193); registers are those of Darcet et al. 2023
(arXiv 2309.16588). Ferret-v2 (Zhang et al. 2024, arXiv 2404.07973) looks at its tiles with it.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from vidapt.errors import ConfigError, nearest
from vidapt.nouns import Features, Grid
from vidapt.parts import PartConfig
from vidapt.towers._pixels import IMAGENET_MEAN, IMAGENET_STD, frame_by_frame, normalise

_KINDS = ("dinov2", "dinov2_with_registers")


class Part(nn.Module):
    """A frame-by-frame vision transformer whose class token and registers are dropped.

    Layers after the one that is read are kept, because published weights hold them, but never computed;
    they and the mask token, which only training from nothing needs, are frozen from the start.

    Args:
        cfg: Architecture, layer and normalisation.

    Attributes:
        net: The transformers model.
        width: C.
        size: Native (height, width) in pixels.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.

    Raises:
        ConfigError: If there is no such layer.
    """

    class Config(PartConfig):
        """Architecture, layer and normalisation.

        Attributes:
            arch: A transformers vision config as a dict; `model_type` is `dinov2` or
                `dinov2_with_registers`.
            layer: Which hidden state is read: 0 is the embedding, -1 the last layer, -2 the one before.
            norm: Whether the model's last norm is applied to it, as DINOv2's own patch features have it.
            frames_at_once: Frames computed together; bounds memory, does not change the result.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        arch: dict[str, Any]
        layer: int = -1
        norm: bool = True
        frames_at_once: int = Field(default=32, ge=1)
        mean: tuple[float, float, float] = IMAGENET_MEAN
        std: tuple[float, float, float] = IMAGENET_STD

        @field_validator("arch")
        @classmethod
        def _known(cls, arch: dict[str, Any]) -> dict[str, Any]:
            kind = str(arch.get("model_type"))
            if kind not in _KINDS:
                raise ValueError(f"model_type {kind!r} is unknown; {nearest(kind, _KINDS)}")
            return arch

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        config = AutoConfig.for_model(**cfg.arch)
        # Float32 unless the caller converts: a dtype written into a published config must not decide here.
        self.net = AutoModel.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
        self.width: int = config.hidden_size
        self.patch: int = config.patch_size
        self.size: tuple[int, int] = (config.image_size, config.image_size)
        self.mean, self.std = cfg.mean, cfg.std
        depth = config.num_hidden_layers
        self._layers = cfg.layer if cfg.layer >= 0 else depth + 1 + cfg.layer
        if not 0 <= self._layers <= depth:
            found = f"{cfg.layer} in a tower of {depth} layers"
            raise ConfigError("dinov2.layer", found, f"use a number from {-depth - 1} to {depth}")
        self._others = 1 + getattr(config, "num_register_tokens", 0)
        self._freeze_unused()

    def grid(self, frames: int, view: tuple[int, int]) -> Grid:
        """The grid that views of a size give.

        Args:
            frames: T.
            view: (height, width) in pixels.
        """
        return Grid(frames, view[0] // self.patch, view[1] // self.patch)

    def forward(self, views: Tensor) -> Features:
        """See the frames.

        Args:
            views: [N, T, 3, H, W] uint8, or floats in 0..255. Sizes other than the native one interpolate
                the position table.

        Returns:
            Features with x [N, T, h, w, C].
        """
        return Features(frame_by_frame(views, self._see, self.cfg.frames_at_once))

    def _see(self, frames: Tensor) -> Tensor:
        """[n, 3, H, W] -> [n, h, w, C]."""
        dtype = self.net.embeddings.patch_embeddings.projection.weight.dtype
        state: Tensor = self.net.embeddings(normalise(frames, self.mean, self.std, dtype))
        for layer in self.net.encoder.layer[: self._layers]:
            state = layer(state)
        if self.cfg.norm:
            state = self.net.layernorm(state)
        grid = self.grid(1, (frames.shape[-2], frames.shape[-1]))
        return state[:, self._others :].reshape(len(frames), grid.h, grid.w, self.width)

    def _freeze_unused(self) -> None:
        """Parameters that never get a gradient must not be counted as trainable, nor wait for one."""
        unused: list[nn.Module] = list(self.net.encoder.layer[self._layers :])
        if not self.cfg.norm:
            unused.append(self.net.layernorm)
        for module in unused:
            module.requires_grad_(False)
        if self.net.embeddings.mask_token is not None:
            self.net.embeddings.mask_token.requires_grad_(False)


def tiny() -> Part:
    """The smallest sensible instance: two layers, a 3 x 3 grid, random weights."""
    arch = {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "image_size": 12,
        "patch_size": 4,
    }
    return Part(Part.Config(arch=arch))
