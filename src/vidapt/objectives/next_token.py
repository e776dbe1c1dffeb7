"""Cross-entropy of the next token, on the answers only.

The objective of visual instruction tuning (Liu et al., 2023). The language model's head runs only where a
label is.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vidapt.objectives._contract import Batch, Loss
from vidapt.parts import PartConfig


class Part(nn.Module):
    """Next-token prediction."""

    class Config(PartConfig):
        """Options.

        Attributes:
            smoothing: Label smoothing.
            head_rows: Labels per call of the head; bounds the memory of large vocabularies. Of more labels
                than that, no logits are kept: the backward pass computes each call's anew.
        """

        smoothing: float = Field(0.0, ge=0, lt=1)
        head_rows: int = Field(8192, ge=1)

    columns: tuple[str, ...] = ()
    answers = True
    """It learns answers to questions, which can also be asked without a clip."""
    reads_features = False
    """What the towers saw goes to the connector alone, so that it may be kept pooled."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg

    def prepare(self, model: Any) -> None:
        """Nothing to build: this objective has no weights of its own."""

    def forward(self, model: Any, batch: Batch) -> Loss:
        """Sum of the labels' cross-entropy times what each counts; the weight is the sum of that."""
        states = model.states(batch.packed, model.visual(batch.seen))
        labels, weights = batch.packed.labels, batch.packed.weights
        rows = self.cfg.head_rows
        counts = itertools.repeat(None) if weights is None else weights.split(rows)
        calls = zip(states.split(rows), labels.split(rows), counts, strict=False)
        loss = self._loss if len(labels) <= rows else self._frugal_loss
        total = sum((loss(model, *call) for call in calls), start=states.new_zeros(()))
        return Loss(total, float(len(labels) if weights is None else weights.sum()))

    def _frugal_loss(self, model: Any, states: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        """The same as `_loss`, keeping for the backward pass nothing that grows with the vocabulary."""
        loss: Tensor = checkpoint(self._loss, model, states, labels, weights, use_reentrant=False)
        return loss

    def _loss(self, model: Any, states: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        logits, smoothing = model.head(states), self.cfg.smoothing
        if weights is None:
            return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
        each = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return (each * weights).sum()


def tiny() -> Part:
    """The smallest sensible instance."""
    return Part(Part.Config())
