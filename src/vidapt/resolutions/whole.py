"""One view per frame: the whole frame squashed to the tower's size, or its centre as CLIP crops it.

Source: CLIP's preprocessing (Radford et al. 2021; short side resized, centre cropped), which LLaVA-1.5,
LLaVA-NeXT-Video and PLLaVA inherit; squashing is SigLIP's (Zhai et al. 2023). What PLLaVA's processor does
to frames before CLIP's is that of its code.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from torch import Tensor

from vidapt.nouns import Plan, View
from vidapt.resolutions._checked import Checked
from vidapt.resolutions._prune import PrunedConfig
from vidapt.resolutions._resize import NARROW, Filter, resize

_LONGEST = 640
"""Pixels of the long side to which PLLaVA's processor shrinks frames first."""


class Part(Checked):
    """Cut one view of the tower's native size from every frame.

    Args:
        cfg: How frames are made to fit.
        size: (height, width) of the tower, in pixels.
        width: Of the language model; nothing is learned here.
    """

    class Config(PrunedConfig):
        """How frames are made to fit.

        Attributes:
            fit: `squash` keeps everything and distorts it; `crop` keeps the shape and loses the ends.
            filter: Resampling filter.
            in_decoder: Let the video decoder resize, which is faster and uses its own kernels. Only for
                squashing, and only with the filters that decoders share.
            compat: None resizes once. `published` resizes twice where PLLaVA's processor does: frames whose
                long side is more than 640 pixels are first shrunk to that (but not below the tower's size)
                by Pillow's bicubic filter. Only for cropping.
        """

        fit: Literal["squash", "crop"] = "squash"
        filter: Filter = "bicubic"
        in_decoder: bool = False
        compat: Literal["published"] | None = None

        @model_validator(mode="after")
        def _decoder_can(self) -> Part.Config:
            if self.in_decoder and (self.fit != "squash" or self.filter in ("bicubic", "pillow")):
                raise ValueError("in_decoder needs `fit: squash` and `filter: area` or `bilinear`")
            if self.compat is not None and self.fit != "crop":
                raise ValueError("`compat: published` needs `fit: crop`")
            return self

    def __init__(self, cfg: Config, *, size: tuple[int, int], width: int = 0) -> None:
        self.cfg, self.size = cfg, size

    def _plan(self, size: tuple[int, int], frames: int) -> Plan:
        return Plan(frames, (View(self.size),), size, decode=self.size if self.cfg.in_decoder else None)

    def _cut(self, frames: Tensor, plan: Plan) -> list[Tensor]:
        if self.cfg.fit == "crop":
            frames = self._short_side(frames)
        return [resize(frames, self.size, self.cfg.filter).contiguous()]

    def _short_side(self, frames: Tensor) -> Tensor:
        """Resize so that the frame just covers the tower's size, then cut out the centre."""
        height, width = frames.shape[-2:]
        short = min(height, width)
        if max(height, width) > NARROW * short:
            # The ends are lost anyway; enlarging a strip of 1 x 10000 pixels whole would take gigabytes.
            frames = _centre(frames, (min(height, NARROW * short), min(width, NARROW * short)))
        if self.cfg.compat == "published":
            frames = _shrunk(frames, max(self.size))
        grown = _short_side_of(frames, max(self.size))
        return _centre(resize(frames, grown, self.cfg.filter), self.size)


def _shrunk(frames: Tensor, least: int) -> Tensor:
    """Frames as PLLaVA's processor hands them to CLIP's.

    Args:
        frames: [T, 3, H, W] uint8.
        least: The shortest side they are shrunk to; smaller frames are enlarged to it.
    """
    short, long = sorted(frames.shape[-2:])
    # A ratio in floating point, whose rounding decides about the last pixel; so does the original's.
    ratio = long / short
    wanted = max(min(short, int(min(_LONGEST, long) / ratio)), least)
    frames = resize(frames, _short_side_of(frames, wanted), "pillow")
    kept = int(wanted * ratio)
    return frames[..., :kept, :kept]


def _short_side_of(frames: Tensor, side: int) -> tuple[int, int]:
    """(height, width) with a short side of so many pixels."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    # The long side is truncated, not rounded, as CLIP's processors do.
    return max(side, side * height // short), max(side, side * width // short)


def _centre(frames: Tensor, size: tuple[int, int]) -> Tensor:
    top, left = (frames.shape[-2] - size[0]) // 2, (frames.shape[-1] - size[1]) // 2
    return frames[..., top : top + size[0], left : left + size[1]]


def tiny() -> Part:
    """The smallest sensible instance: views of 8 x 8 pixels."""
    return Part(Part.Config(), size=(8, 8))
