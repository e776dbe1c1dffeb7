"""What the frame-by-frame towers do alike: normalise pixels, and look at a few frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(frames: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Bring pixels to what a tower was trained on.

    Args:
        frames: [n, 3, H, W] uint8, or floats in 0..255.
        mean: Per channel, in 0..1.
        std: Per channel, in 0..1.
        dtype: Of the tower's weights. The arithmetic itself is never done in fewer than 32 bits.

    Returns:
        [n, 3, H, W] of `dtype`.
    """
    exact = torch.promote_types(dtype, torch.float32)
    shift = torch.tensor(mean, dtype=exact, device=frames.device).view(3, 1, 1)
    scale = torch.tensor(std, dtype=exact, device=frames.device).view(3, 1, 1)
    return ((frames.to(exact) / 255 - shift) / scale).to(dtype)


def frame_by_frame(views: Tensor, see: Callable[[Tensor], Tensor], at_once: int) -> Tensor:
    """Let every frame of every clip be seen by itself.

    Args:
        views: [N, T, 3, H, W].
        see: [n, 3, H, W] to [n, h, w, C].
        at_once: Frames handed to `see` together; bounds memory, does not change the result.

    Returns:
        [N, T, h, w, C].
    """
    flat = views.flatten(0, 1)
    seen = torch.cat([see(chunk) for chunk in torch.split(flat, at_once)])
    return seen.reshape(*views.shape[:2], *seen.shape[1:])
