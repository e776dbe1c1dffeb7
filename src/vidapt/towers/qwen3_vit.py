"""Qwen3-VL's vision transformer: frames of any size in pairs, and what inner layers make of them besides.

Source: Bai et al. 2025, arXiv 2511.21631, section 2; transformers' `Qwen3VLVisionModel` and
`Qwen3_5VisionModel`: patches of 2 frames x 16 x 16 pixels, a learned table of positions resampled to the
grid bilinearly from corner to corner, rotary positions by row and column. The blocks are transformers' own.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5VisionModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from vidapt.errors import ConfigError
from vidapt.nouns import Grid
from vidapt.parts import PartConfig
from vidapt.towers._patches import one_of
from vidapt.towers._slices import SliceTower, apart

_DEEP = "qwen3_vl_vision"
_HALF = (0.5, 0.5, 0.5)


class Part(SliceTower):
    """A vision transformer over slices of two frames.

    Patches attend to those of their own slice only, so slices are computed in chunks and a long clip needs
    no more working memory than a short one. The published model's mergers are not part of it; the connector
    `merge_mlp` is those.

    Args:
        cfg: Architecture, levels and normalisation.

    Raises:
        ConfigError: If there is no layer of a level's number.

    Attributes:
        net: The transformers model, without its mergers.
        width: C.
        levels: Layers whose states are handed on beside the last one's.
        size: (height, width) in pixels, for resolutions that cut to the tower's size.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    class Config(PartConfig):
        """Architecture, levels and normalisation.

        Attributes:
            arch: A transformers vision config as a dict; `model_type` is `qwen3_vl_vision` or
                `qwen3_5_vision`.
            levels: Layers, counted from 0, whose states are handed on beside the last one's, ascending.
            size: (height, width) in pixels that resolutions cut to which do not choose a size themselves.
            patches_at_once: Patches computed together, in whole slices; bounds memory, does not change
                the result.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        choices = frozenset({"levels", "size", "patches_at_once", "mean", "std"})

        arch: Annotated[dict[str, Any], one_of(_DEEP, "qwen3_5_vision")]
        levels: tuple[int, ...] = ()
        size: tuple[int, int] = (256, 256)
        patches_at_once: int = Field(default=8192, ge=1)
        mean: tuple[float, float, float] = _HALF
        std: tuple[float, float, float] = _HALF

    def __init__(self, cfg: Config) -> None:
        deep = cfg.arch.get("model_type") == _DEEP
        # The mergers of levels are the connector's, so the model is built as if there were none.
        if deep:
            super().__init__(cfg, Qwen3VLVisionModel, deepstack_visual_indexes=())
            del self.net.deepstack_merger_list
        else:
            super().__init__(cfg, Qwen3_5VisionModel)
        self.cfg = cfg
        count = len(self.net.blocks)
        if list(cfg.levels) != sorted({level for level in cfg.levels if 0 <= level < count}):
            told = f"are {list(cfg.levels)} in a tower of {count} layers"
            raise ConfigError("towers.levels", told, f"use numbers from 0 to {count - 1}, ascending")
        self.levels = cfg.levels

    def _through(self, state: Tensor, grid: Grid, count: int) -> tuple[Tensor, ...]:
        cells = grid.h * grid.w
        state = (state.reshape(count, cells, -1) + self._table(grid).to(state.dtype)).flatten(0, 1)
        rotary, ends = self._rotary(state, grid, count), apart(cells, count, state.device)
        levels = []
        for index, block in enumerate(self.net.blocks):
            state = block(state, cu_seqlens=ends, max_seqlen=cells, position_embeddings=rotary)
            if index in self.levels:
                levels.append(state)
        return (state, *levels)

    def _table(self, grid: Grid) -> Tensor:
        """[h * w, C] float32: the learned table of positions in the size of the grid."""
        table, side = self.net.pos_embed.weight.float(), self.net.num_grid_per_side
        square = table.T.reshape(1, -1, side, side)
        resized = interpolate(square, (grid.h, grid.w), mode="bilinear", align_corners=True)
        return resized[0].flatten(1).T


def tiny() -> Part:
    """The smallest sensible instance: three layers, one of them a level, patches of 4 x 4 pixels."""
    arch = {
        "model_type": _DEEP,
        "depth": 3,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "patch_size": 4,
        "num_position_embeddings": 9,
    }
    return Part(Part.Config(arch=arch, levels=(0,), size=(8, 16)))
