"""What the vision transformers of transformers do alike: how they are built, and cells of one patch each."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import torch
from pydantic import AfterValidator
from torch import nn
from transformers import AutoConfig, AutoModel

from vidapt.errors import ConfigError, nearest
from vidapt.nouns import Grid
from vidapt.parts import possible


class Described(Protocol):
    """What every such tower's configuration says; each states its own defaults."""

    @property
    def arch(self) -> dict[str, Any]:
        """A transformers vision config as a dict."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Per channel, in 0..1."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Per channel, in 0..1."""


class PatchTower(nn.Module):
    """A vision transformer from transformers whose cells are its patches.

    Args:
        cfg: Architecture and normalisation.
        attention: Name of the attention that transformers is to use.
        fixed: Entries of the architecture that the tower decides, whatever `cfg` says.

    Attributes:
        net: The transformers model.
        width: C.
        patch: Side of a patch in pixels.
        size: Native (height, width) in pixels.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    def __init__(self, cfg: Described, *, attention: str = "sdpa", **fixed: Any) -> None:
        super().__init__()
        with possible("towers.arch"):
            config = AutoConfig.for_model(**{**cfg.arch, **fixed})
            # Float32 unless the caller converts: a dtype of a published config must not decide here.
            self.net = AutoModel.from_config(config, attn_implementation=attention, dtype=torch.float32)
        self.width: int = config.hidden_size
        self.patch: int = _one_side(config.patch_size, "patch_size")
        side = _one_side(config.image_size, "image_size")
        self.size: tuple[int, int] = (side, side)
        self.mean, self.std = cfg.mean, cfg.std

    def grid(self, frames: int, view: tuple[int, int]) -> Grid:
        """The grid that views of a size give.

        Args:
            frames: T.
            view: (height, width) in pixels.
        """
        return Grid(frames, view[0] // self.patch, view[1] // self.patch)


def _one_side(length: Any, name: str) -> int:
    """The side of a square, which some configurations give twice.

    Raises:
        ConfigError: If it is no square.
    """
    sides = set(length) if isinstance(length, list | tuple) else {length}
    if len(sides) != 1:
        raise ConfigError(f"towers.arch.{name}", f"is {length}", "only squares are supported")
    return int(sides.pop())


def _only_clip(arch: dict[str, Any]) -> dict[str, Any]:
    if arch.get("model_type") != "clip_vision_model":
        raise ValueError(f"model_type is {arch.get('model_type')!r}, not 'clip_vision_model'")
    return arch


ClipArch = Annotated[dict[str, Any], AfterValidator(_only_clip)]
"""The `arch` of a tower that is image CLIP's and no other."""


def one_of(*kinds: str) -> AfterValidator:
    """What checks the `arch` of a tower that knows several: its `model_type` must be one of `kinds`."""

    def known(arch: dict[str, Any]) -> dict[str, Any]:
        kind = str(arch.get("model_type"))
        if kind not in kinds:
            raise ValueError(f"model_type {kind!r} is unknown; {nearest(kind, kinds)}")
        return arch

    return AfterValidator(known)


def layers_under(layer: int, depth: int, kind: str) -> int:
    """How many layers lie under a hidden state.

    Args:
        layer: 0 is the embedding, -1 the last layer, -2 the one before.
        depth: Layers of the tower.
        kind: Of the tower, for errors.

    Raises:
        ConfigError: If there is no such layer.
    """
    count = layer if layer >= 0 else depth + 1 + layer
    if not 0 <= count <= depth:
        found = f"{layer} in a tower of {depth} layers"
        raise ConfigError(f"{kind}.layer", found, f"use a number from {-depth - 1} to {depth}")
    return count


def tiny_arch(model_type: str, *, layers: int = 2, **more: Any) -> dict[str, Any]:
    """The smallest sensible architecture: 3 x 3 patches of 4 x 4 pixels, two heads of 8."""
    return {
        "model_type": model_type,
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "image_size": 12,
        "patch_size": 4,
        **more,
    }
