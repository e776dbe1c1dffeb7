"""A vision transformer that sees one frame at a time: CLIP's or SigLIP's, from transformers.

Source: CLIP (Radford et al. 2021, arXiv 2103.00020) and SigLIP (Zhai et al. 2023, arXiv 2303.15343);
reading a late hidden layer instead of the last follows LLaVA (Liu et al. 2023, arXiv 2304.08485).
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
from vidapt.towers._pixels import normalise

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_HAS_CLASS_TOKEN = {"clip_vision_model": True, "siglip_vision_model": False}


class Part(nn.Module):
    """A frame-by-frame vision transformer.

    Layers after the one that is read are kept, because published weights hold them, but never computed;
    they are frozen from the start.

    Args:
        cfg: Architecture, layer and normalisation.

    Attributes:
        net: The transformers model.
        width: C.
        size: Native (height, width) in pixels.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.

    Raises:
        ConfigError: If the architecture is unknown or has no such layer.
    """

    class Config(PartConfig):
        """Architecture, layer and normalisation.

        Attributes:
            arch: A transformers vision config as a dict; `model_type` is `clip_vision_model` or
                `siglip_vision_model`.
            layer: Which hidden state is read: 0 is the embedding, -1 the last layer, -2 the one before.
            drop_class_token: Drop the class token (if there is one) instead of handing it on as `extra`.
            frames_at_once: Frames computed together; bounds memory, does not change the result.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        arch: dict[str, Any]
        layer: int = -2
        drop_class_token: bool = True
        frames_at_once: int = Field(default=32, ge=1)
        mean: tuple[float, float, float] = CLIP_MEAN
        std: tuple[float, float, float] = CLIP_STD

        @field_validator("arch")
        @classmethod
        def _known(cls, arch: dict[str, Any]) -> dict[str, Any]:
            kind = str(arch.get("model_type"))
            if kind not in _HAS_CLASS_TOKEN:
                raise ValueError(f"model_type {kind!r} is unknown; {nearest(kind, _HAS_CLASS_TOKEN)}")
            return arch

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        arch = dict(cfg.arch)
        kind = arch.pop("model_type")
        config = AutoConfig.for_model(kind, **arch)
        # Float32 unless the caller converts: a dtype written into a published config must not decide here.
        self.net = AutoModel.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
        self.width: int = config.hidden_size
        self.patch: int = config.patch_size
        self.size: tuple[int, int] = (config.image_size, config.image_size)
        self.mean, self.std = cfg.mean, cfg.std
        self._class_tokens = int(_HAS_CLASS_TOKEN[kind])
        self._layers = self.depth = _count(cfg.layer, config.num_hidden_layers)
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
            views: [N, T, 3, H, W] uint8. Sizes other than the native one interpolate the position table.

        Returns:
            Features with x [N, T, h, w, C]; `extra` [N, T, C] holds the class tokens if they are kept.
        """
        batch, frames = views.shape[:2]
        flat = views.flatten(0, 1)
        seen = torch.cat([self._see(chunk) for chunk in torch.split(flat, self.cfg.frames_at_once)])
        grid = self.grid(frames, (views.shape[-2], views.shape[-1]))
        cells = seen[:, self._class_tokens :].reshape(batch, frames, grid.h, grid.w, self.width)
        if self.cfg.drop_class_token or not self._class_tokens:
            return Features(cells)
        return Features(cells, extra=seen[:, 0].reshape(batch, frames, self.width))

    def _see(self, frames: Tensor) -> Tensor:
        """[n, 3, H, W] uint8 -> hidden states [n, tokens, C] after the layer asked for."""
        native = tuple(frames.shape[-2:]) == self.size
        state: Tensor = self.net.embeddings(
            normalise(frames, self.mean, self.std, self.net.embeddings.patch_embedding.weight.dtype),
            interpolate_pos_encoding=not native,
        )
        if self._class_tokens:  # CLIP normalises before its first layer, SigLIP does not
            state = self.net.pre_layrnorm(state)
        for layer in self.net.encoder.layers[: self._layers]:
            state = layer(state, None)
        return state

    def _freeze_unused(self) -> None:
        """Parameters that never get a gradient must not be counted as trainable, nor wait for one."""
        unused: list[nn.Module] = [*self.net.encoder.layers[self._layers :], self.net.post_layernorm]
        if getattr(self.net, "use_head", False):
            unused.append(self.net.head)
        for module in unused:
            module.requires_grad_(False)


def _count(layer: int, depth: int) -> int:
    """How many encoder layers lie under a hidden state."""
    count = layer if layer >= 0 else depth + 1 + layer
    if not 0 <= count <= depth:
        found = f"{layer} in a tower of {depth} layers"
        raise ConfigError("frame_vit.layer", found, f"use a number from {-depth - 1} to {depth}")
    return count


def tiny() -> Part:
    """The smallest sensible instance: two layers, a 3 x 3 grid, random weights."""
    arch = {
        "model_type": "clip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 12,
        "patch_size": 4,
        "projection_dim": 16,
    }
    return Part(Part.Config(arch=arch))
