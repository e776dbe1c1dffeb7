"""CLIP's vision transformer, frame by frame, down to the feature that it shares with texts.

Source: CLIP (Radford et al. 2021, arXiv 2103.00020), whose vision tower Long-CLIP (Zhang et al. 2024,
arXiv 2403.15378) trains on and HiLight reads: the class token after the last layer, normalised and
projected, but not brought to unit length.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from vidapt.nouns import Features, Grid
from vidapt.parts import PartConfig
from vidapt.towers._patches import ClipArch, PatchTower, tiny_arch
from vidapt.towers._pixels import frame_by_frame, normalise
from vidapt.towers.frame_vit import CLIP_MEAN, CLIP_STD


class Part(PatchTower):
    """Frames to one feature each, or to patches.

    Args:
        cfg: Architecture, what is handed on, and normalisation.

    Attributes:
        net: The transformers model.
        projection: C to E, without bias.
        width: C' of the features: E, or C where patches are handed on.
        size: Native (height, width) in pixels.
        projected: Whether `pool` has mapped to the width that texts share: it has.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    class Config(PartConfig):
        """Architecture, what is handed on, and normalisation.

        Attributes:
            arch: A transformers vision config as a dict; `model_type` is `clip_vision_model` and
                `projection_dim` is E.
            output: `feature` is one cell per frame with its projected class token; `patches` is the last
                layer's patches, with the class tokens as `extra`, and leaves norm and projection to
                `pool`. They are frozen from the start then; who trains what `pool` gives releases them.
            frames_at_once: Frames computed together; bounds memory, does not change the result.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        choices = frozenset({"output", "frames_at_once", "mean", "std"})

        arch: ClipArch
        output: Literal["feature", "patches"] = "feature"
        frames_at_once: int = Field(default=32, ge=1)
        mean: tuple[float, float, float] = CLIP_MEAN
        std: tuple[float, float, float] = CLIP_STD

    projected = True

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.cfg = cfg
        self.projection = nn.Linear(self.width, self.net.config.projection_dim, bias=False)
        if cfg.output == "feature":
            self.width = self.projection.out_features
        else:
            self.net.post_layernorm.requires_grad_(False)
            self.projection.requires_grad_(False)

    def grid(self, frames: int, view: tuple[int, int]) -> Grid:
        """The grid that views of a size give.

        Args:
            frames: T.
            view: (height, width) in pixels.
        """
        if self.cfg.output == "feature":
            return Grid(frames, 1, 1)
        return super().grid(frames, view)

    def forward(self, views: Tensor) -> Features:
        """See the frames.

        Args:
            views: [N, T, 3, H, W] uint8, or floats in 0..255. Sizes other than the native one interpolate
                the position table.

        Returns:
            x [N, T, 1, 1, E]; or x [N, T, h, w, C] and extra [N, T, C].
        """
        if self.cfg.output == "feature":
            return Features(frame_by_frame(views, self._feature, self.cfg.frames_at_once))
        states = frame_by_frame(views, self._states, self.cfg.frames_at_once).squeeze(3)
        grid = self.grid(views.shape[1], (views.shape[-2], views.shape[-1]))
        cells = states[:, :, 1:].reshape(len(views), grid.t, grid.h, grid.w, self.width)
        return Features(cells, extra=states[:, :, 0])

    def pool(self, seen: Features) -> Tensor:
        """The projected class token of every frame.

        Args:
            seen: What `forward` gave.

        Returns:
            [N, T, E], not of unit length.
        """
        if seen.extra is None:
            return seen.x.flatten(1, 3)
        return self._project(seen.extra)

    def _feature(self, frames: Tensor) -> Tensor:
        """[n, 3, H, W] -> [n, 1, 1, E]."""
        return self._project(self._states(frames)[:, :1, 0]).unsqueeze(1)

    def _states(self, frames: Tensor) -> Tensor:
        """[n, 3, H, W] -> [n, 1 + h w, 1, C] after the last layer."""
        native = tuple(frames.shape[-2:]) == self.size
        pixels = normalise(frames, self.mean, self.std, self.projection.weight.dtype)
        state = self.net.pre_layrnorm(self.net.embeddings(pixels, interpolate_pos_encoding=not native))
        for layer in self.net.encoder.layers:
            state = layer(state, None)
        states: Tensor = state.unsqueeze(2)
        return states

    def _project(self, class_tokens: Tensor) -> Tensor:
        projected: Tensor = self.projection(self.net.post_layernorm(class_tokens))
        return projected


def tiny() -> Part:
    """The smallest sensible instance: two layers, a 3 x 3 grid, a feature of 8 per frame, random weights."""
    arch = tiny_arch("clip_vision_model", intermediate_size=32, projection_dim=8)
    return Part(Part.Config(arch=arch))
