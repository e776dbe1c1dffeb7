"""A model and its objective as one module, and this process among those that train it together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from vidapt.objectives import Loss


class Learner(nn.Module):
    """A model and its objective, whose forward is the loss of a batch.

    Whoever wraps it (to spread or to share weights among processes) has its hooks around all that is
    computed, whichever of the model's methods an objective calls.

    Args:
        model: What learns.
        objective: By what.
    """

    def __init__(self, model: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Any) -> Loss:
        """The loss of a batch."""
        loss = self.objective(self.model, batch)
        assert isinstance(loss, Loss)
        return loss


def _itself(module: nn.Module) -> nn.Module:
    return module


def _own(weight: float) -> float:
    return weight


@dataclass(frozen=True)
class Ranks:
    """This process among those that learn from one step together; it is alone, unless told otherwise.

    Attributes:
        rank: Its number.
        count: How many there are. Each sees its own visits of every step (`Order`).
        wrap: Puts around a `Learner` what makes of the processes' gradients their mean, such as
            `DistributedDataParallel`.
        weigh: Mean over the processes of a weight that each has of its own: what a sum is divided by, so that
            the mean of the gradients is that of the mean over all labels.
    """

    rank: int = 0
    count: int = 1
    wrap: Callable[[nn.Module], nn.Module] = _itself
    weigh: Callable[[float], float] = _own
