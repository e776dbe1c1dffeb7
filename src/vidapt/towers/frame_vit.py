"""A vision transformer that sees one frame at a time: CLIP's or SigLIP's, from transformers.

Source: CLIP (Radford et al. 2021, arXiv 2103.00020) and SigLIP (Zhai et al. 2023, arXiv 2303.15343);
reading a late hidden layer instead of the last follows LLaVA (Liu et al. 2023, arXiv 2304.08485).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.nouns import Features, Grid
from vidapt.parts import PartConfig
from vidapt.towers._patches import PatchTower, layers_under, one_of, tiny_arch
from vidapt.towers._pixels import frame_by_frame, normalise

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_HAS_CLASS_TOKEN = {"clip_vision_model": True, "siglip_vision_model": False}


class Part(PatchTower):
    """A frame-by-frame vision transformer.

    Layers after the one that is read are kept, because published weights hold them, but never computed;
    they are frozen from the start. So is what `pool` alone needs (the last norm, SigLIP's head): who trains
    what it gives has to release it.

    Args:
        cfg: Architecture, layer and normalisation.

    Attributes:
        net: The transformers model.
        width: C.
        size: Native (height, width) in pixels.
        depth: Number of layers that are computed.
        projected: Whether `pool` has mapped to the width that texts share: it has not.
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

        choices = frozenset({"layer", "drop_class_token", "frames_at_once", "mean", "std"})

        arch: Annotated[dict[str, Any], one_of(*_HAS_CLASS_TOKEN)]
        layer: int = -2
        drop_class_token: bool = True
        frames_at_once: int = Field(default=32, ge=1)
        mean: tuple[float, float, float] = CLIP_MEAN
        std: tuple[float, float, float] = CLIP_STD

    projected = False

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.cfg = cfg
        self._class_tokens = int(_HAS_CLASS_TOKEN[cfg.arch["model_type"]])
        self._layers = self.depth = layers_under(cfg.layer, self.net.config.num_hidden_layers, "frame_vit")
        self._freeze_unused()

    def forward(self, views: Tensor) -> Features:
        """See the frames.

        Args:
            views: [N, T, 3, H, W] uint8, or floats in 0..255. Sizes other than the native one interpolate
                the position table.

        Returns:
            Features with x [N, T, h, w, C]; `extra` [N, T, C] holds the class tokens if they are kept.
        """
        seen = frame_by_frame(views, self._see, self.cfg.frames_at_once)
        return self.features(seen, self.grid(views.shape[1], (views.shape[-2], views.shape[-1])))

    def states(self, views: Tensor) -> Iterator[Tensor]:
        """The embedded frames, and then what each layer makes of them, up to the one that is read.

        Args:
            views: As `forward` takes them.

        Yields:
            [N, T, tokens, C]: the class token (if there is one), then the patches row by row.
        """
        chunks = torch.split(views.flatten(0, 1), self.cfg.frames_at_once)
        for pieces in zip(*map(self._steps, chunks), strict=True):
            state = torch.cat(pieces)
            yield state.reshape(*views.shape[:2], *state.shape[1:])

    def features(self, state: Tensor, grid: Grid) -> Features:
        """Tell patches and class tokens of a state apart.

        Args:
            state: One of `states`.
            grid: Of the patches.
        """
        cells = state[:, :, self._class_tokens :].reshape(len(state), grid.t, grid.h, grid.w, self.width)
        if self.cfg.drop_class_token or not self._class_tokens:
            return Features(cells)
        return Features(cells, extra=state[:, :, 0])

    def pool(self, seen: Features) -> Tensor:
        """The vector that stands for each frame, before its projection.

        CLIP's is the class token, normalised; SigLIP's is what its head gathers from the normalised patches.

        Args:
            seen: What `forward` gave.

        Returns:
            [N, T, C].

        Raises:
            ConfigError: As `check_pooling`.
        """
        self.check_pooling()
        if self._class_tokens:
            assert seen.extra is not None
            pooled: Tensor = self.net.post_layernorm(seen.extra)
            return pooled
        patches = self.net.post_layernorm(seen.x.flatten(0, 1).flatten(1, 2))
        gathered: Tensor = self.net.head(patches)
        return gathered.reshape(*seen.x.shape[:2], self.width)

    def check_pooling(self) -> None:
        """Make sure that `pool` finds what it needs.

        Raises:
            ConfigError: If the last layer is not the one that is read, the class token is dropped, or SigLIP
                has no head.
        """
        if not self._class_tokens and not self.net.use_head:
            raise ConfigError(
                "frame_vit.arch",
                "SigLIP without its head (`vision_use_head: false`) has nothing that stands for a frame",
                "use its head, or clip_vip, frame_vit with CLIP, or long_clip",
            )
        wanted = []
        if self._layers < len(self.net.encoder.layers):
            wanted.append("layer: -1")
        if self._class_tokens and self.cfg.drop_class_token:
            wanted.append("drop_class_token: false")
        if wanted:
            last = "its class token" if self._class_tokens else "its patches"
            raise ConfigError(
                "frame_vit",
                f"cannot pool: after the last layer, {last} would stand for a frame",
                f"set {' and '.join(wanted)}",
            )

    def _see(self, frames: Tensor) -> Tensor:
        """[n, 3, H, W] -> hidden states [n, tokens, C] after the layer asked for."""
        for state in self._steps(frames):
            last = state
        return last

    def _steps(self, frames: Tensor) -> Iterator[Tensor]:
        """[n, 3, H, W] -> hidden states [n, tokens, C]: the embedding, and after each layer."""
        native = tuple(frames.shape[-2:]) == self.size
        state: Tensor = self.net.embeddings(
            normalise(frames, self.mean, self.std, self.net.embeddings.patch_embedding.weight.dtype),
            interpolate_pos_encoding=not native,
        )
        if self._class_tokens:  # CLIP normalises before its first layer, SigLIP does not
            state = self.net.pre_layrnorm(state)
        yield state
        for layer in self.net.encoder.layers[: self._layers]:
            state = layer(state, None)
            yield state

    def _freeze_unused(self) -> None:
        """Parameters that never get a gradient must not be counted as trainable, nor wait for one."""
        unused: list[nn.Module] = [*self.net.encoder.layers[self._layers :], self.net.post_layernorm]
        if getattr(self.net, "use_head", False):
            unused.append(self.net.head)
        for module in unused:
            module.requires_grad_(False)


def tiny() -> Part:
    """The smallest sensible instance: two layers, a 3 x 3 grid, random weights."""
    arch = tiny_arch("clip_vision_model", intermediate_size=32, projection_dim=16)
    return Part(Part.Config(arch=arch))
