"""What objectives receive and return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from vidapt.nouns import Seen, Views


class Batch(Protocol):
    """What a training step offers an objective.

    Attributes:
        views: The clips as they are cut, in order; all of them stacked where their plans are equal.
        seen: The clips as the towers see them, in the same order; one row per clip and row of text.
        packed: The text, laid out for the model.
        truth: Columns the objective asked for, one row per clip.
    """

    @property
    def views(self) -> Sequence[Views]: ...

    @property
    def seen(self) -> Sequence[Seen]: ...

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
        parts: Sums of the loss's components, for the log; none where there is only one.
    """

    total: Tensor
    weight: float
    parts: Mapping[str, float] = field(default_factory=dict)
