"""Qwen2.5-VL's vision transformer: frames of any size in pairs, most layers looking through windows.

Source: Bai et al. 2025, arXiv 2502.13923, section 2.1.1: patches of 2 frames x 14 x 14 pixels, rotary
positions by row and column, attention within windows of 112 x 112 pixels in all layers but a few. The blocks
are transformers' own.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from vidapt.nouns import Grid
from vidapt.parts import PartConfig, possible
from vidapt.towers._patches import one_of
from vidapt.towers._slices import SliceTower, apart
from vidapt.towers.frame_vit import CLIP_MEAN, CLIP_STD

_ARCH = "qwen2_5_vl_vision"


class Part(SliceTower):
    """A vision transformer over slices of two frames, with windows.

    Patches attend to those of their own slice at most, so slices are computed in chunks and a long clip
    needs no more working memory than a short one. Patches are put in the order of windows in front of the
    first layer and back behind the last one. Windows at the right and lower edge are as small as what is
    left. The published model's merger is not part of it; the connector `merge_mlp` is that.

    Args:
        cfg: Architecture and normalisation.

    Raises:
        ConfigError: If a window is smaller than what the model merges into one token.

    Attributes:
        net: The transformers model, without its merger.
        width: C.
        window: Side of a window in patches.
        size: (height, width) in pixels, for resolutions that cut to the tower's size.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    class Config(PartConfig):
        """Architecture and normalisation.

        Attributes:
            arch: A transformers vision config as a dict; `model_type` is `qwen2_5_vl_vision`.
            size: (height, width) in pixels that resolutions cut to which do not choose a size themselves.
            patches_at_once: Patches computed together, in whole slices; bounds memory, does not change
                the result.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        choices = frozenset({"size", "patches_at_once", "mean", "std"})

        arch: Annotated[dict[str, Any], one_of(_ARCH)]
        size: tuple[int, int] = (224, 224)
        patches_at_once: int = Field(default=8192, ge=1)
        mean: tuple[float, float, float] = CLIP_MEAN
        std: tuple[float, float, float] = CLIP_STD

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg, Qwen2_5_VisionTransformerPretrainedModel)
        self.cfg = cfg
        with possible("towers.arch"):
            merge = int(self.net.spatial_merge_size)
            self.window = int(self.net.window_size) // merge // self.patch * merge
            if self.window < 1:
                raise ValueError(f"windows of {self.net.window_size} pixels hold no block of {merge} patches")

    def _through(self, state: Tensor, grid: Grid, count: int) -> tuple[Tensor, ...]:
        cells = grid.h * grid.w
        order, sizes = self._windows(grid, count)
        order = order.to(state.device)
        whole = apart(cells, count, state.device)
        windows = torch.nn.functional.pad(sizes.cumsum(0), (1, 0)).to(whole)
        rotary = tuple(part[order] for part in self._rotary(state, grid, count))
        state = state[order]
        for index, block in enumerate(self.net.blocks):
            full = index in self.net.fullatt_block_indexes
            state = block(
                state,
                cu_seqlens=whole if full else windows,
                max_seqlen=cells if full else int(sizes.max()),
                position_embeddings=rotary,
            )
        return (state[order.argsort()],)

    def _windows(self, grid: Grid, count: int) -> tuple[Tensor, Tensor]:
        """Patches of so many slices in the order of their windows, and how many stand in each window.

        A window lies within its slice, so a layer that sees the whole slice finds it in one piece too.
        """
        across = -(-grid.w // self.window)
        rows, columns = (torch.arange(side) // self.window for side in (grid.h, grid.w))
        within = (rows[:, None] * across + columns).flatten()
        slices = torch.arange(count)[:, None] * (int(within.max()) + 1)
        of = (slices + within).flatten()
        return of.argsort(stable=True), of.bincount()


def tiny() -> Part:
    """The smallest sensible instance: two layers, windows of 2 x 2 patches of 4 x 4 pixels."""
    arch = {
        "model_type": _ARCH,
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "patch_size": 4,
        "window_size": 8,
        "fullatt_block_indexes": [1],
    }
    return Part(Part.Config(arch=arch, size=(8, 16)))
