"""Several models on one base: weights that are equal are held once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

_BASE = ".base_layer"
"""What peft puts into the name of a layer that adapters stand on."""


@torch.no_grad()
def share_weights(models: Iterable[nn.Module]) -> int:
    """Give models the weights of earlier ones where those are the same, bit for bit.

    Names say which weights are compared: a base, and runs that put different adapters on it, come to hold the
    base once.

    Args:
        models: In evaluation mode; what is shared must not be changed any more.

    Returns:
        Bytes that are not held twice any more.
    """
    known: dict[str, list[torch.Tensor]] = {}
    saved = 0
    for model in models:
        for name, weight in model.named_parameters():
            if weight.is_meta:  # it comes from elsewhere whenever it is needed
                continue
            others = known.setdefault(name.replace(_BASE, ""), [])
            same = next((other for other in others if _same(weight, other)), None)
            if same is None:
                others.append(weight.data)
            elif same.data_ptr() != weight.data_ptr():
                weight.data = same
                saved += weight.numel() * weight.element_size()
    return saved


def _same(weight: torch.Tensor, other: torch.Tensor) -> bool:
    alike = type(weight.data) is type(other) and weight.device == other.device and weight.dtype == other.dtype
    return alike and weight.shape == other.shape and torch.equal(weight, other)
