"""Steps of alignment made of random numbers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vidapt.objectives import Pairs


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def make_pairs(
    clip_of: list[int],
    lengths: list[int] | None = None,
    *,
    clips: int | None = None,
    group: list[int] | None = None,
    width: int = 6,
    patches: int = 7,
    seed: int = 0,
    **changes: Any,
) -> Pairs:
    """Texts about `clip_of`, of `lengths` tokens, in double precision; every tensor wants a gradient."""
    torch.manual_seed(seed)
    count = clips or max(clip_of) + 1
    lengths = lengths or [3] * len(clip_of)
    longest = max(lengths)
    videos, texts = unit(count, width).requires_grad_(), unit(len(clip_of), width).requires_grad_()
    seen = torch.randn(count, patches, width, dtype=torch.float64, requires_grad=True)
    read = torch.randn(len(clip_of), longest, width, dtype=torch.float64, requires_grad=True)
    fields: dict[str, Any] = {
        "videos": videos,
        "texts": texts,
        "clip_of": torch.tensor(clip_of),
        "group": torch.tensor(group or list(range(count))),
        "scale": torch.tensor(3.0, dtype=torch.float64, requires_grad=True),
        "token_mask": torch.arange(longest) < torch.tensor(lengths)[:, None],
        "patches": lambda level: seen,
        "tokens": lambda level: read,
    }
    return Pairs(**fields | changes)
