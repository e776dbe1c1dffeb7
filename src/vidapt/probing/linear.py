"""A linear probe: ridge regression on the classes (Hoerl and Kennard 1970) of means of a clip's tokens.

It is solved in the space of examples, whose size does not depend on the number of channels. Letters: N
examples, n tokens, C channels, A classes, H ways to leave examples out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vidapt.probing.pooled import Row

STRETCHES = (1, 4, 16)
"""Into how many equal parts of their reading order tokens are averaged."""

WEIGHTS = (10.0, 1.0, 0.1, 0.01, 0.001)
"""Of the penalty, in units of an example's mean square."""


def means(rows: Sequence[Row], stretches: int) -> Tensor:
    """[N, (stretches + 1) * C]: the mean of each stretch, and of what has no place."""
    return torch.stack([_means(row, stretches) for row in rows])


def _means(row: Row, stretches: int) -> Tensor:
    placed = row.at[:, 0] >= 0
    x, other = row.x[placed].float(), row.x[~placed].float()
    part = torch.arange(len(x)) * stretches // max(1, len(x))
    sums = x.new_zeros(stretches, x.shape[1]).index_add_(0, part, x)
    counts = torch.bincount(part, minlength=stretches).clamp(min=1)
    last = other.mean(0, keepdim=True) if len(other) else x.new_zeros(1, x.shape[1])
    return torch.cat((sums / counts[:, None], last)).flatten()


def predictions(x: Tensor, targets: Tensor, learned: Tensor) -> Tensor:
    """What ridge regressions say of all examples.

    Args:
        x: [N, P] float.
        targets: [K, N] classes from 0; K sets of labels.
        learned: [H, N] bool: from which examples each regression learns.

    Returns:
        [weights, K, H, N] classes.
    """
    x = x.double()
    x = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-8)
    gram = x @ x.T
    classes = int(targets.max()) + 1
    wanted = torch.nn.functional.one_hot(targets, classes).double()  # [K, N, A]
    found = torch.zeros(len(WEIGHTS), len(targets), len(learned), len(x), dtype=torch.long)
    for head, mask in enumerate(learned):
        centred = gram[:, mask] - gram[:, mask].mean(1, keepdim=True)
        centred = centred - centred[mask].mean(0)
        values, vectors = torch.linalg.eigh((centred[mask] + centred[mask].T) / 2)
        scale = values.clamp(min=0).mean().clamp(min=1e-12)
        mean = wanted[:, mask].mean(1, keepdim=True)  # [K, 1, A]
        turned = vectors.T @ (wanted[:, mask] - mean)
        for number, weight in enumerate(WEIGHTS):
            duals = vectors @ (turned / (values.clamp(min=0) + weight * scale)[:, None])
            found[number, :, head] = (centred @ duals + mean).argmax(-1)
    return found
