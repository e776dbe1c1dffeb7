"""What a step costs in memory at once: portions of its clips, and states of layers that are computed again.

Neither changes what is learned, but for rounding. The loss of a step is the mean over all of its labels,
however it is divided: sums of portions are what is differentiated, and the gradient is divided at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from vidapt.errors import ConfigError
from vidapt.objectives import Loss

T = TypeVar("T")

_AGAIN = partial(checkpoint, use_reentrant=False)


def portions(members: Sequence[T], at_once: int | None) -> list[Sequence[T]]:
    """Members in their order, at most `at_once` of them together; None takes all together."""
    size = at_once or max(1, len(members))
    return [members[start : start + size] for start in range(0, len(members), size)]


def learn_from(
    batches: list[Any],
    loss_of: Callable[[Any], Loss],
    lower: Callable[[], AbstractContextManager[Any]],
    check: Callable[[torch.Tensor], None],
    weights: Sequence[nn.Parameter],
    weigh: Callable[[float], float] = float,
) -> Loss:
    """Give weights the gradient of a step's mean loss.

    Args:
        batches: Its portions; each is let go once it has been learned from.
        loss_of: The objective's.
        lower: Makes the context in which losses are computed.
        check: Raises if a mean is not finite.
        weights: All that learn; their gradients are empty.
        weigh: What a sum of some weight is divided by to become a mean; see `ranks.Ranks`.

    Returns:
        The losses added up, without a graph.
    """
    if len(batches) == 1:
        with lower():
            loss = loss_of(batches.pop())
        mean = loss.total / weigh(loss.weight)
        check(mean)
        torch.autograd.backward(mean)
        return Loss(loss.total.detach(), loss.weight, loss.parts)
    total, weight, parts = torch.zeros(()), 0.0, dict[str, float]()
    batches.reverse()
    while batches:
        with lower():
            loss = loss_of(batches.pop())
        check(loss.total / loss.weight)
        torch.autograd.backward(loss.total)
        total, weight = total + loss.total.detach().cpu(), weight + loss.weight
        parts = {name: parts.get(name, 0.0) + value for name, value in loss.parts.items()}
    divisor = weigh(weight)
    for one in weights:
        if one.grad is not None:
            one.grad.div_(divisor)
    return Loss(total, weight, parts)


def keep_states(members: Sequence[nn.Module], *, again: bool) -> None:
    """Have layers keep all their states for the backward pass, or compute them again there from what goes in.

    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174).

    Args:
        members: Whose layers.
        again: Whether states are computed again. Layers of frozen members go into training mode for that,
            but not what is within them.

    Raises:
        ConfigError: If there is no layer that can compute again.
    """
    modules = (module for member in members for module in member.modules())
    layers = [module for module in modules if isinstance(module, GradientCheckpointingLayer)]
    if again and not layers:
        raise ConfigError("stages.recompute", "no layer of this model can be computed again", "leave it out")
    for layer in layers:
        layer.gradient_checkpointing = again
        if again:
            layer._gradient_checkpointing_func = _AGAIN
            layer.training = True
