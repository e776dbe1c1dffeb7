"""A mean of a model's weights over the steps of a stage, which becomes its model.

Sources: Polyak & Juditsky 1992 (SIAM J. Control Optim. 30), whose mean is used today with a fading past;
Izmailov et al. 2018 (arXiv 1803.05407), that of the last steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from vidapt.recipe import Average

_SOON = 10
"""After n steps at most (1 + n) / (10 + n) of a fading mean stays, so that the first weights go soon."""


class RunningAverage:
    """The mean so far.

    Args:
        settings: Which mean.
        weights: Those that learn, by name.
        total: Steps of the stage.

    Attributes:
        tensors: The mean of each.
        count: How many steps went into it.
    """

    def __init__(self, settings: Average, weights: Mapping[str, nn.Parameter], total: int) -> None:
        self.settings, self.count = settings, 0
        self._weights, self._begin = dict(weights), settings.begin * total
        self.tensors = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Take in the weights as they are after so many steps."""
        mean, now = list(self.tensors.values()), [weight.detach() for weight in self._weights.values()]
        if self.settings.kind == "ema":
            stays = min(self.settings.decay, (1 + self.count) / (_SOON + self.count))
            get_ema_multi_avg_fn(stays)(mean, now, self.count)  # type: ignore[no-untyped-call]
        elif done <= self._begin:
            return
        elif self.count:
            get_swa_multi_avg_fn()(mean, now, self.count)  # type: ignore[no-untyped-call]
        else:
            torch._foreach_copy_(mean, now)
        self.count += 1

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Go on from a mean that was kept."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
        self.count = count

    @torch.no_grad()
    def settle(self) -> None:
        """Give the model the mean, if there is one."""
        if self.count:
            for name, weight in self._weights.items():
                weight.copy_(self.tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the model be the mean for a while."""
        kept = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self.settle()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self._weights.items():
                    weight.copy_(kept[name])
