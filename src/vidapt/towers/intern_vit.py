"""InternViT: a vision transformer with a class token, learned positions and layer scale, frame by frame.

Source: Chen et al. 2023, "InternVL" (arXiv 2312.14238), as transformers builds it for InternVL 3 and 3.5.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from vidapt.nouns import Features
from vidapt.parts import PartConfig
from vidapt.towers._patches import PatchTower, layers_under, one_of, tiny_arch
from vidapt.towers._pixels import IMAGENET_MEAN, IMAGENET_STD, frame_by_frame, normalise


class Part(PatchTower):
    """InternViT without its class token's output, which no language model reads.

    Layers after the one that is read are kept, because published weights hold them, but never computed; they
    are frozen from the start.

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
            arch: A transformers configuration of InternVL's vision model, as a dict.
            layer: Which hidden state is read: 0 is the embedding, -1 the last layer, behind the final norm
                if there is one (`use_mean_pooling: false`).
            frames_at_once: Frames computed together; bounds memory, does not change the result.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        choices = frozenset({"layer", "frames_at_once", "mean", "std"})

        arch: Annotated[dict[str, Any], one_of("internvl_vision")]
        layer: int = -1
        frames_at_once: int = Field(default=16, ge=1)
        mean: tuple[float, float, float] = IMAGENET_MEAN
        std: tuple[float, float, float] = IMAGENET_STD

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.cfg = cfg
        depth = self.net.config.num_hidden_layers
        self._layers = layers_under(cfg.layer, depth, "intern_vit")
        # As the original counts: the last layer by its negative number alone is read behind the norm.
        self._normed = cfg.layer == -1
        self._freeze_unused()

    def forward(self, views: Tensor) -> Features:
        """See the frames.

        Args:
            views: [N, T, 3, H, W] uint8, or floats in 0..255. Sizes other than the native one interpolate
                the position table.

        Returns:
            Features with x [N, T, h, w, C].
        """
        grid = self.grid(views.shape[1], (views.shape[-2], views.shape[-1]))
        seen = frame_by_frame(views, self._see, self.cfg.frames_at_once)
        return Features(seen.reshape(len(seen), *(grid.t, grid.h, grid.w), self.width))

    def _see(self, frames: Tensor) -> Tensor:
        """[n, 3, H, W] pixels -> [n, h * w, C] after the layer asked for."""
        dtype = self.net.embeddings.cls_token.dtype
        state: Tensor = self.net.embeddings(normalise(frames, self.mean, self.std, dtype))
        for layer in self.net.encoder.layer[: self._layers]:
            state = layer(state)
        if self._normed:
            state = self.net.layernorm(state)
        return state[:, 1:]

    def _freeze_unused(self) -> None:
        """Parameters that never get a gradient must not be counted as trainable, nor wait for one."""
        unused: list[nn.Module] = list(self.net.encoder.layer[self._layers :])
        if not self._normed:
            unused.append(self.net.layernorm)
        for module in unused:
            module.requires_grad_(False)


def tiny() -> Part:
    """The smallest sensible instance: two layers, a 3 x 3 grid, random weights."""
    arch = tiny_arch("internvl_vision", intermediate_size=32, attention_bias=True)
    return Part(Part.Config(arch=arch))
