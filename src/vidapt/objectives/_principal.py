"""What remains of features when only their principal components are kept.

Source: Long-CLIP (Zhang et al. 2024, arXiv 2403.15378), which matches short captions with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def principal(features: Tensor, components: int) -> Tensor:
    """Project features on their own principal components, and add their mean again.

    The gradient is that of the projection, not of single components: these are not defined where two of
    them are equally strong, and the derivative of a decomposition has no bound there.

    Args:
        features: [n, E].
        components: How many are kept. Where there are no more than that, nothing changes.

    Returns:
        [n, E], not of unit length.
    """
    if min(len(features) - 1, features.shape[1]) <= components:
        return features
    mean = features.mean(0)
    centred = features - mean
    gram = centred.double() @ centred.double().T
    projector: Tensor = _TopSpace.apply(gram, components)  # type: ignore[no-untyped-call]
    return projector.to(features.dtype) @ centred + mean


class _TopSpace(torch.autograd.Function):
    """The projector on the strongest eigenvectors of a symmetric matrix [n, n]."""

    @staticmethod
    def forward(ctx: Any, gram: Tensor, components: int) -> Tensor:
        values, vectors = torch.linalg.eigh(gram)
        ctx.save_for_backward(values, vectors)
        ctx.components = components
        top = vectors[:, -components:]
        projector: Tensor = top @ top.T
        return projector

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        values, vectors = ctx.saved_tensors
        low, high = vectors[:, : -ctx.components], vectors[:, -ctx.components :]
        gaps = values[-ctx.components :, None] - values[None, : -ctx.components]
        # Where the last kept and the first dropped component are equal, the projector jumps.
        sharp = gaps > 1e-12 * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
        turn = high.T @ (grad + grad.T) @ low / gaps.masked_fill(~sharp, 1.0) * sharp
        half = high @ turn @ low.T
        return (half + half.T) / 2, None
