"""What a clip becomes in the eyes of a model, and its features as tensors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.models.clip_rows import each_tensor
from vidapt.models.clip_rows import stacked as joined
from vidapt.nouns import Clip, Features, Moments, Plan, Seen, Views


class Eyes(Protocol):
    """What of a model decides what a clip becomes; a `VideoLM` is one.

    Attributes:
        blueprint: Its frames policy, resolution, scenes and towers, as data.
        towers: A list of modules.
    """

    blueprint: Any
    towers: Any

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        ...

    @property
    def decode_size(self) -> tuple[int, int] | None:
        """(height, width) to which the decoder resizes."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights, all in one number format."""
        ...

    def plan(self, size: tuple[int, int], frames: int, together: int = 1) -> tuple[Plan, Any]:
        """What will be cut from a clip, and what will be read of it."""
        ...

    def cut(self, pixels: Tensor, together: int = 1, moments: Moments | None = None) -> Views:
        """Views of one decoded clip."""
        ...

    def see_views(self, views: Views) -> Seen:
        """What the towers see of N clips."""
        ...

    def shrinks(self, plan: Plan, together: int = 1) -> bool:
        """Whether `shrunk` makes what was seen of such clips smaller."""
        ...

    def shrunk(self, seen: Seen) -> Seen:
        """What was seen, pooled where nothing else is done with it before anything that learns."""
        ...


@torch.no_grad()
def see_frozen(model: Eyes, views: Views) -> Seen:
    """What frozen towers see of N clips.

    Each clip is seen by itself: convolutions and matrix products may round differently with the number of
    rows, and features must not depend on which clips were cached before a kill, or stood in the same step.
    """
    count = len(views.tensors[0])
    alone = [
        replace(
            views,
            tensors=tuple(t[i : i + 1] for t in views.tensors),
            moments=views.moments[i : i + 1],
            kept=views.kept[i : i + 1],
        )
        for i in range(count)
    ]
    return joined([model.see_views(clip) for clip in alone])


def converted(features: Features, dtype: torch.dtype) -> Features:
    """Features in another number format."""
    return each_tensor(features, lambda tensor: tensor.to(dtype))


def named_rows(clip: Clip, features: Sequence[Features], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Features of one clip by name, as they are kept; `stacked_rows` reads them.

    Args:
        clip: Whose.
        features: One per view, each of one row.
        dtype: Number format in which they are kept; None keeps theirs.

    Raises:
        ConfigError: If a feature is larger than the format holds.
    """
    tensors: dict[str, Tensor] = {}
    for index, one in enumerate(features):
        tensors[f"{index}.x"] = one.x[0]
        if one.extra is not None:
            tensors[f"{index}.extra"] = one.extra[0]
        tensors |= {f"{index}.level.{k}": level[0] for k, level in enumerate(one.levels)}
    if dtype is None:
        return tensors
    kept = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    for name, tensor in kept.items():
        if not torch.isfinite(tensor).all() and torch.isfinite(tensors[name]).all():
            raise ConfigError(
                "cache.dtype",
                f"{clip.path}: a feature is {float(tensors[name].abs().max()):.3g}, and float16 holds "
                f"nothing above {torch.finfo(torch.float16).max:g}",
                "set `cache.dtype: bfloat16`, which is as small, or `exact`",
            )
    return kept


def stacked_rows(
    rows: Sequence[Mapping[str, Tensor]], view: int, dtype: torch.dtype, device: torch.device
) -> Features:
    """Kept features of clips as one.

    Args:
        rows: Tensors of each by name, as they are kept.
        view: Index of the view.
        dtype: Number format that is wanted.
        device: Where they are wanted.
    """

    def together(name: str) -> Tensor:
        # Moved as they are kept: half the bytes. On a CPU, float16 cannot be stacked under autocast.
        with torch.autocast("cpu", enabled=False):
            return torch.stack([row[name] for row in rows]).to(device).to(dtype)

    levels = itertools.takewhile(
        lambda name: name in rows[0], (f"{view}.level.{k}" for k in itertools.count())
    )
    extra = together(f"{view}.extra") if f"{view}.extra" in rows[0] else None
    return Features(together(f"{view}.x"), extra, tuple(map(together, levels)))
