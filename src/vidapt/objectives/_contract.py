"""What objectives receive and return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from vidapt.nouns import Features


class Batch(Protocol):
    """What a training step offers an objective.

    Attributes:
        views: Frames of the clips, [N, T, 3, H, W] uint8, neighbours of equal shape stacked; empty when
            only their features were kept.
        features: Tower features of the clips, in the same order; computed on first use from `views`.
        packed: The text, laid out for the model.
        truth: Columns the objective asked for, one row per clip.
    """

    @property
    def views(self) -> Sequence[Tensor]: ...

    @property
    def features(self) -> Sequence[Features]: ...

    @property
    def packed(self) -> Any: ...

    @property
    def truth(self) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True)
class Loss:
    """A loss as a sum and the weight to divide it by, so that micro-batches add up exactly.

    Attributes:
        total: Scalar sum.
        weight: Number of labels (or clips) summed over.
        parts: Sums of the loss's components, for the log.
    """

    total: Tensor
    weight: float
    parts: Mapping[str, float] = field(default_factory=dict)
