"""Qwen2-VL's vision transformer, which sees frames of any size and two of them at a time.

Source: Wang et al. 2024, arXiv 2409.12191, section 2.1: patches of 2 frames x 14 x 14 pixels, rotary
positions by row and column. The blocks are transformers' own.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

from vidapt.nouns import Grid
from vidapt.parts import PartConfig
from vidapt.towers._patches import one_of
from vidapt.towers._slices import SliceTower, apart
from vidapt.towers.frame_vit import CLIP_MEAN, CLIP_STD

_ARCH = "qwen2_vl_vision"


class Part(SliceTower):
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

        arch: Annotated[dict[str, Any], one_of(_ARCH)]
        size: tuple[int, int] = (224, 224)
        patches_at_once: int = Field(default=8192, ge=1)
        mean: tuple[float, float, float] = CLIP_MEAN
        std: tuple[float, float, float] = CLIP_STD

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg, Qwen2VisionTransformerPretrainedModel, width="embed_dim")
        self.cfg = cfg

    def _through(self, state: Tensor, grid: Grid, count: int) -> tuple[Tensor, ...]:
        cells, rotary = grid.h * grid.w, self._rotary(state, grid, count)
        ends = apart(cells, count, state.device)
        for block in self.net.blocks:
            state = block(state, cu_seqlens=ends, max_seqlen=cells, position_embeddings=rotary)
        return (state,)


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
