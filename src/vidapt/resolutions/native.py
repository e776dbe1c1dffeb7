"""Every frame at close to its own size: sides rounded to whole blocks of patches, area within limits.

Source: Qwen2-VL (Wang et al. 2024, arXiv 2409.12191, section 2.1) and the rule by which its released
processors choose the sides; the share of a long clip's frames in one total is that of qwen-vl-utils. Limits
over whole clips: Qwen3-VL (Bai et al. 2025, arXiv 2511.21631) by transformers' `Qwen3VLVideoProcessor`.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from vidapt.nouns import Plan, View
from vidapt.resolutions._checked import Checked
from vidapt.resolutions._prune import PrunedConfig
from vidapt.resolutions._resize import pillow, resize


class Part(Checked):
    """Cut one view of each frame's own shape.

    Args:
        cfg: Blocks, limits and kernel.
        size: Of the tower, in pixels; not needed, because the views have sizes of their own.
        width: Of the language model; nothing is learned here.
    """

    class Config(PrunedConfig):
        """Blocks, limits and kernel.

        Attributes:
            factor: Both sides become multiples of so many pixels: a patch's side times the cells per side
                that the connector merges.
            min_pixels: Smaller frames are enlarged to at least this area.
            max_pixels: Larger frames are shrunk to at most this area (or one block in the narrow side).
            over: What these two limit: the area of each `frame`, or of all frames of a `clip` together, of
                which there are counted as many as fill the nearest number of slices (of two numbers equally
                near, the even one).
            frame_pixels: Where the limits are over clips, the area that a frame is shrunk to at most, too,
                but not less than 1.05 times `min_pixels`. None lets a short clip use what is meant for a
                long one.
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
        over: Literal["frame", "clip"] = "frame"
        frame_pixels: int | None = Field(default=None, ge=1)
        total_pixels: int | None = Field(default=None, ge=1)
        frames_per_slice: int = Field(default=2, ge=1)
        max_aspect: float | None = Field(default=200.0, ge=1)
        kernel: Literal["pillow", "torch"] = "pillow"

        @model_validator(mode="after")
        def _limits_in_order(self) -> Part.Config:
            if self.min_pixels > self.max_pixels:
                raise ValueError(f"min_pixels {self.min_pixels} is more than max_pixels {self.max_pixels}")
            return self

        @model_validator(mode="after")
        def _limits_of_one_kind(self) -> Part.Config:
            of_clips = self.over == "clip"
            if of_clips and self.total_pixels is not None:
                raise ValueError("total_pixels goes with `over: frame`; over a clip, max_pixels is the total")
            if not of_clips and self.frame_pixels is not None:
                raise ValueError("frame_pixels goes with `over: clip`; over a frame, that is max_pixels")
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
        if self.cfg.over == "clip":
            return self._fitted_in_clip(size, frames)
        return self._within(size, (1, 1), self.cfg.min_pixels, self._most(frames))

    def _fitted_in_clip(self, size: tuple[int, int], frames: int) -> tuple[int, int]:
        cfg = self.cfg
        scale = max(cfg.factor / min(size), 1.0)
        # The original first brings small frames to a whole block in the narrow side, cutting off fractions.
        size = (int(size[0] * scale), int(size[1] * scale))
        counted = max(1, round(frames / cfg.frames_per_slice)) * cfg.frames_per_slice
        most = cfg.max_pixels
        if cfg.frame_pixels is not None:
            each = max(min(cfg.frame_pixels, most // frames), int(cfg.min_pixels * 1.05))
            most = each * frames
        return self._within(size, (frames, counted), cfg.min_pixels, most)

    def _within(
        self, size: tuple[int, int], frames: tuple[int, int], least: int, most: int
    ) -> tuple[int, int]:
        """(height, width) of frames; there are so many, and so many are counted once sides are in blocks."""
        factor = self.cfg.factor
        area = frames[0] * size[0] * size[1]
        height, width = (round(side / factor) * factor for side in size)
        if frames[1] * height * width > most:
            shrink = math.sqrt(area / most)
            height, width = (max(factor, math.floor(side / shrink / factor) * factor) for side in size)
        elif frames[1] * height * width < least:
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
