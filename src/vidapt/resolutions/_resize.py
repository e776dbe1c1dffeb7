"""Resizing of uint8 frames, shared by the resolutions.

Source: Pillow's antialiased filters as torch implements them for uint8 on the CPU, which is bit for bit
what transformers' video processors compute; resizing in floats and rounding afterwards is not.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidapt.nouns import Plan

Filter = Literal["bicubic", "bilinear", "area", "pillow"]

NARROW = 8
"""Frames longer than this many times their short side are treated apart, so that memory stays bounded."""


def check_plan(size: tuple[int, int], frames: int) -> None:
    """Refuse sizes that no file can have.

    Raises:
        ValueError: If a side or the number of frames is not positive.
    """
    if min(size) < 1 or frames < 1:
        raise ValueError(f"a plan needs at least one frame of one pixel, got {frames} of {size[0]}x{size[1]}")


def check_frames(pixels: Tensor, plan: Plan) -> None:
    """Refuse pixels that are not what the plan was made for.

    Raises:
        ValueError: If dtype, layout or the number of frames differ.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ValueError(f"frames are uint8 [T, H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
    if len(pixels) != plan.frames:
        raise ValueError(f"the plan is for {plan.frames} frames, got {len(pixels)}")


def resize(frames: Tensor, size: tuple[int, int], how: Filter) -> Tensor:
    """Resize frames.

    Args:
        frames: [T, 3, H, W] uint8 on the CPU.
        size: (height, width) wanted.
        how: `bicubic` and `bilinear` are antialiased; `area` is the plain mean of the pixels covered;
            `pillow` is Pillow's bicubic filter, which differs from torch's by one level in a few pixels.

    Returns:
        [T, 3, height, width] uint8.
    """
    if tuple(frames.shape[-2:]) == size:
        return frames
    if how == "area":
        # Frame by frame: this filter has no uint8 kernel, and a long clip in floats is four times as large.
        return torch.stack([_area(frame, size) for frame in frames])
    if how == "pillow":
        return pillow(frames, size, "bicubic")
    return F.interpolate(frames, size=size, mode=how, antialias=True, align_corners=False)


def pillow(frames: Tensor, size: tuple[int, int], how: Literal["bicubic", "bilinear", "lanczos"]) -> Tensor:
    """Resize as Pillow does, to the bit.

    Args:
        frames: [T, 3, H, W] uint8 on the CPU.
        size: (height, width) wanted.
        how: Resampling filter; all are antialiased.

    Returns:
        [T, 3, height, width] uint8.
    """
    filters = {
        "bicubic": Image.Resampling.BICUBIC,
        "bilinear": Image.Resampling.BILINEAR,
        "lanczos": Image.Resampling.LANCZOS,
    }
    resized = torch.empty(len(frames), 3, *size, dtype=torch.uint8)
    for target, frame in zip(resized, frames, strict=True):
        picture = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
        picture = picture.resize((size[1], size[0]), filters[how])
        target.copy_(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    return resized


def _area(frame: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(frame[None].float(), size=size, mode="area")[0].round().to(torch.uint8)
