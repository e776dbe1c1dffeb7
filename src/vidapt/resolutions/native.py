"""Every frame at close to its own size: sides rounded to whole blocks of patches, area within limits.

Source: Qwen2-VL (Wang et al. 2024, arXiv 2409.12191, section 2.1) and the rule by which its released
processors choose the sides; the share of a long clip's frames in one total is that of qwen-vl-utils.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from vidapt.nouns import Plan, View
from vidapt.parts import PartConfig
from vidapt.resolutions._checked import Checked
from vidapt.resolutions._resize import pillow, resize


class Part(Checked):
    """Cut one view of each frame's own shape.

    Args:
        cfg: Blocks, limits and kernel.
        size: Of the tower, in pixels; not needed, because the views have sizes of their own.
        width: Of the language model; nothing is learned here.
    """

    class Config(PartConfig):
        """Blocks, limits and kernel.

        Attributes:
            factor: Both sides become multiples of so many pixels: a patch's side times the cells per side
                that the connector merges.
            min_pixels: Smaller frames are enlarged to at least this area.
            max_pixels: Larger frames are shrunk to at most this area (or one block in the narrow side).
            total_pixels: Area of all slices of a clip together; its frames get an even share of it, but
                not less than 1.05 times `min_pixels`. None sets no such limit.
            frames_per_slice: Frames that the tower makes one slice of.
            max_aspect: Frames whose long side is more times the short one are refused, as the original
                does; None takes all.
            kernel: Who filters bicubically: `pillow`, as the original's stills are, or `torch`, as its
                videos are. They round differently (and clip overshoots, where contrast is extreme);
                torch is faster.
        """

        factor: int = Field(default=28, ge=1)
        min_pixels: int = Field(default=4 * 28 * 28, ge=1)
        max_pixels: int = Field(default=1280 * 28 * 28, ge=1)
        total_pixels: int | None = Field(default=None, ge=1)
        frames_per_slice: int = Field(default=2, ge=1)
        max_aspect: float | None = Field(default=200.0, ge=1)
        kernel: Literal["pillow", "torch"] = "pillow"

        @model_validator(mode="after")
        def _limits_in_order(self) -> Part.Config:
            if self.min_pixels > self.max_pixels:
                raise ValueError(f"min_pixels {self.min_pixels} is more than max_pixels {self.max_pixels}")
            return self

    def __init__(self, cfg: Config, *, size: tuple[int, int] = (0, 0), width: int = 0) -> None:
        del size, width
        self.cfg = cfg

    def _plan(self, size: tuple[int, int], frames: int) -> Plan:
        aspect = max(size) / min(size)
        if self.cfg.max_aspect is not None and aspect > self.cfg.max_aspect:
            raise ValueError(
                f"a frame of {size[0]}x{size[1]} pixels has an aspect ratio of {aspect:.1f}, "
                f"more than {self.cfg.max_aspect:g}"
            )
        return Plan(frames, (View(self._fitted(size, frames)),), size)

    def _cut(self, frames: Tensor, plan: Plan) -> list[Tensor]:
        (view,) = plan.views
        if self.cfg.kernel == "torch":
            return [resize(frames, view.size, "bicubic").contiguous()]
        return [pillow(frames, view.size, "bicubic")]

    def _fitted(self, size: tuple[int, int], frames: int) -> tuple[int, int]:
        """(height, width) in whole blocks; the area stays within the limits as far as blocks allow."""
        factor, least, most = self.cfg.factor, self.cfg.min_pixels, self._most(frames)
        area = size[0] * size[1]
        height, width = (round(side / factor) * factor for side in size)
        if height * width > most:
            shrink = math.sqrt(area / most)
            height, width = (max(factor, math.floor(side / shrink / factor) * factor) for side in size)
        elif height * width < least:
            # Also for a side of less than half a block, which has been rounded to nothing.
            grow = math.sqrt(least / area)
            height, width = (math.ceil(side * grow / factor) * factor for side in size)
        return height, width

    def _most(self, frames: int) -> int:
        """Largest area of a frame of a clip of so many."""
        if self.cfg.total_pixels is None:
            return self.cfg.max_pixels
        share = self.cfg.total_pixels * self.cfg.frames_per_slice // frames
        return max(min(self.cfg.max_pixels, share), int(self.cfg.min_pixels * 1.05))


def tiny() -> Part:
    """The smallest sensible instance: blocks of 4 x 4 pixels, at most 64 of them, any shape."""
    return Part(Part.Config(factor=4, min_pixels=64, max_pixels=1024, max_aspect=None))
