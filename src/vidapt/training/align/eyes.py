"""A dual encoder as `Footage` sees models: one tower, one resolution, and no conversation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vidapt.nouns import Moments, Plan, Seen, Views


class OneTower(Protocol):
    """What sees clips with one tower: a `DualEncoder`, or a teacher.

    Attributes:
        blueprint: Its frames policy, resolution, scenes and towers, as data.
        tower: The tower.
    """

    blueprint: Any
    tower: Any

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights, all in one number format."""
        ...

    def plan(self, size: tuple[int, int], frames: int) -> Plan:
        """What will be cut from a clip."""
        ...

    def cut(self, pixels: Tensor) -> Tensor:
        """The view of one decoded clip: [T, H, W, 3] uint8 -> [1, T, 3, h, w]."""
        ...


class DualEyes:
    """What of a dual encoder decides what a clip becomes.

    Args:
        model: Its frames policy, resolution and tower.

    Attributes:
        blueprint: The model's.
        towers: Its tower, alone in a list.
    """

    def __init__(self, model: OneTower) -> None:
        self._model = model
        self.blueprint: Any = model.blueprint
        self.towers = nn.ModuleList([model.tower])

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._model.device

    @property
    def decode_size(self) -> tuple[int, int] | None:
        """(height, width) to which the decoder resizes, where the resolution lets it."""
        return self._model.plan((256, 256), 1).decode

    def parameters(self) -> Iterator[nn.Parameter]:
        """The model's."""
        return self._model.parameters()

    def plan(self, size: tuple[int, int], frames: int, together: int = 1) -> tuple[Plan, tuple[()]]:
        """What will be cut from a clip; nothing is read of it."""
        del together
        return self._model.plan(size, frames), ()

    def cut(self, pixels: Tensor, together: int = 1, moments: Moments | None = None) -> Views:
        """Views of one decoded clip, [T, H, W, 3] uint8; alignment reads no times."""
        del moments
        frames, height, width = pixels.shape[:3]
        return Views((self._model.cut(pixels),), self._model.plan((height, width), frames), together)

    def shrinks(self, plan: Plan, together: int = 1) -> bool:
        """Never: alignment looks at every cell."""
        del plan, together
        return False

    def shrunk(self, seen: Seen) -> Seen:
        """The same."""
        return seen

    def see_views(self, views: Views) -> Seen:
        """What the tower sees of N clips."""
        (tensor,) = views.tensors
        return Seen((self._model.tower(tensor),), views.plan, views.together)
