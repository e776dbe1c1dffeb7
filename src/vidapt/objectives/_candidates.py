"""Cross-entropy over candidates of which several may be right, and some do not take part."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LookAlikes = Literal["negatives", "excluded", "positives"]
"""What is done with a candidate that looks like the right one: it counts as wrong, does not take part, or
counts as right too."""

OUT = -1e9
"""Logit of a candidate that does not take part; finite, because 0 * inf is no number."""


@dataclass(frozen=True)
class Choice:
    """R rows that each choose among C candidates.

    Attributes:
        share: [R, C], how much of a row's target lies on each candidate; 0 where it is wrong.
        allowed: [R, C] bool, which candidates take part.
        weight: [R], of each row; 0 where a row has nothing to choose.
    """

    share: Tensor
    allowed: Tensor
    weight: Tensor

    @property
    def right(self) -> Tensor:
        """[R, C] bool: the candidates that count as right."""
        return (self.share > 0) & self.allowed

    @property
    def rows(self) -> Tensor:
        """[R] the weights of rows that have something to choose, which sum to one; all 0 if there is none."""
        weight = self.weight * self.right.any(-1)
        return weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)

    def targets(self, smoothing: float = 0.0) -> Tensor:
        """[R, C]: the shares of each row, which sum to one; `smoothing` is spread over all that take part."""
        share = self.share * self.allowed
        share = share / share.sum(-1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
        even = self.allowed.to(share.dtype) / self.allowed.sum(-1, keepdim=True).clamp_min(1)
        return (1 - smoothing) * share + smoothing * even

    def mean(self, each: Tensor) -> Tensor:
        """The weighted mean of a number per row, [R] -> scalar."""
        return (self.rows * each).sum()

    def hits(self, logits: Tensor) -> float:
        """Share of rows whose highest logit [R, C] is a right candidate's."""
        if not logits.numel():
            return float("nan")
        best = logits.masked_fill(~self.allowed, OUT).argmax(-1, keepdim=True)
        return float(self.mean(self.right.gather(1, best).squeeze(1).to(self.weight.dtype)))


def cross_entropy(logits: Tensor, choice: Choice, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each row against its shares.

    Args:
        logits: [R, C].
        choice: What is right, and what takes part.
        smoothing: Part of the target that is spread evenly over the candidates.

    Returns:
        [R]. At equal logits it is the logarithm of the number of candidates that take part.
    """
    chances = logits.masked_fill(~choice.allowed, OUT).log_softmax(-1)
    return -(choice.targets(smoothing) * chances).sum(-1)


def entropy(choice: Choice, smoothing: float = 0.0) -> Tensor:
    """[R]: the least that `cross_entropy` can reach."""
    targets = choice.targets(smoothing)
    least: Tensor = torch.special.entr(targets).sum(-1)
    return least


def exact(x: Tensor) -> Tensor:
    """Halves to single precision; singles and doubles as they are."""
    return x if x.dtype == torch.float64 else x.float()


def no_halves(device: torch.device) -> AbstractContextManager[None]:
    """A context in which autocast rounds nothing to halves: sums over many candidates need the digits."""
    return torch.autocast(device.type, enabled=False)
