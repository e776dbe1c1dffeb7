"""What training steps really take: their tokens, memory and operations, counted tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

import vidapt.training.step as loop
from vidapt.planning.weightless import Account


@dataclass
class Taken:
    """What steps took, one number for each.

    Attributes:
        tokens: Those that the language model read, padding left out.
        peaks: Bytes at most of what a step is given, of all that it computes, and of its gradients; weights
            and what the optimizer keeps are none of it.
        flops: Floating-point operations.
        losses: Means over labels.
        gradients: Of the first step, one tensor for each weight that learns.
    """

    tokens: list[int] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)


@contextmanager
def accounted() -> Iterator[Taken]:
    """Count what every step takes that vidapt trains meanwhile."""
    taken, real = Taken(), loop.learn_from

    def learn(batches: list[Any], loss_of: Any, lower: Any, check: Any, weights: Any, *rest: Any) -> Any:
        mine = list(batches)
        given = [tensor for batch in mine for tensor in _given(batch)]
        with Account() as account:
            for tensor in given:
                account.hold(tensor)
            loss = real(batches, loss_of, lower, check, weights, *rest)
        taken.tokens += [_tokens(mine)] if all(hasattr(batch, "packed") for batch in mine) else []
        taken.peaks.append(account.peak)
        taken.flops.append(float(account.flops))
        taken.losses.append(float(loss.total / loss.weight))
        if not taken.gradients:
            taken.gradients = [weight.grad.clone() for weight in weights if weight.grad is not None]
        return loss

    loop.learn_from = learn
    try:
        yield taken
    finally:
        loop.learn_from = real


def _given(batch: Any) -> list[Tensor]:
    """What is at hand when a step begins: clips as they are cut, or what is kept of them."""
    if batch._footage.keeps != "features":
        pixels = batch.views
        if isinstance(pixels, Tensor):
            return [pixels]
        return [tensor for views in pixels for tensor in views.tensors]
    seen = batch.seen if hasattr(batch, "seen") else [batch.features]
    features = [one for row in seen for one in getattr(row, "features", (row,))]
    return [t for one in features for t in (one.x, one.extra, *one.levels) if t is not None]


def _tokens(batches: list[Any]) -> int:
    layouts = [batch.packed.layout for batch in batches]
    return sum(int(layout.valid.sum() + (layout.owner >= 0).sum()) for layout in layouts)
