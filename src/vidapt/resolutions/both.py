"""The same view of every frame for two towers, whose features one call of the connector reads.

Source: HiLight (motern88/HiLight, 2024), where CLIP-ViP and Long-CLIP look at the same 224 x 224 pixels. The
original does not round the resized frames to whole levels; here they are rounded, as `whole` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from vidapt.nouns import Features, Plan, View
from vidapt.parts import PartConfig
from vidapt.resolutions import whole
from vidapt.resolutions._one_by_one import OneByOne
from vidapt.resolutions._resize import Filter


class Part(OneByOne):
    """Cut one view and hand it to both towers.

    Args:
        cfg: How frames are made to fit.
        size: (height, width) of the first tower, in pixels; the second looks at the same size.
        width: Of the language model; nothing is learned here.
    """

    class Config(PartConfig):
        """How frames are made to fit.

        Attributes:
            fit: `squash` keeps everything and distorts it; `crop` keeps the shape and loses the ends.
            filter: Resampling filter.
        """

        fit: Literal["squash", "crop"] = "squash"
        filter: Filter = "bicubic"

    def __init__(self, cfg: Config, *, size: tuple[int, int], width: int = 0) -> None:
        self.cfg, self.size = cfg, size
        self._whole = whole.Part(whole.Part.Config(fit=cfg.fit, filter=cfg.filter), size=size)

    def plan(self, size: tuple[int, int], frames: int) -> Plan:
        """Plan a clip.

        Args:
            size: (height, width) of the file, in pixels.
            frames: How many frames will be decoded.

        Raises:
            ValueError: If a side or `frames` is not positive.
        """
        planned = self._whole.plan(size, frames)
        return Plan(frames, (View(self.size, tower=0), View(self.size, tower=1)), planned.size)

    def cut(self, pixels: Tensor, plan: Plan) -> list[Tensor]:
        """Cut the planned views.

        Args:
            pixels: [T, H, W, 3] uint8.
            plan: What `plan` gave for this clip.

        Returns:
            One [T, 3, h, w] uint8 tensor, twice.

        Raises:
            ValueError: If the pixels are not what was planned for.
        """
        (view,) = self._whole.cut(pixels, plan)
        return [view, view]

    def stitch(self, features: Sequence[Features], plan: Plan) -> list[tuple[Features, ...]]:
        """Hand what both towers saw to one call of the connector.

        Args:
            features: One per tower.
            plan: What `plan` gave for these clips.
        """
        del plan
        return [tuple(features)]


def tiny() -> Part:
    """The smallest sensible instance: views of 8 x 8 pixels."""
    return Part(Part.Config(), size=(8, 8))
