"""DINOv2: a vision transformer trained without words, which keeps fine local detail.

Source: DINOv2 (Oquab et al. 2023, arXiv 2304.07193); registers are those of Darcet et al. 2023
(arXiv 2309.16588). Ferret-v2 (Zhang et al. 2024, arXiv 2404.07973) looks at its tiles with it.
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

        choices = frozenset({"layer", "norm", "frames_at_once", "mean", "std"})

        arch: Annotated[dict[str, Any], one_of("dinov2", "dinov2_with_registers")]
        layer: int = -1
        norm: bool = True
        frames_at_once: int = Field(default=32, ge=1)
        mean: tuple[float, float, float] = IMAGENET_MEAN
        std: tuple[float, float, float] = IMAGENET_STD

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.cfg = cfg
        self._layers = layers_under(cfg.layer, self.net.config.num_hidden_layers, "dinov2")
        self._others = 1 + getattr(self.net.config, "num_register_tokens", 0)
        self._freeze_unused()

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
    arch = tiny_arch("dinov2", mlp_ratio=2)
    return Part(Part.Config(arch=arch))
