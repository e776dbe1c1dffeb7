"""What one step costs: it is carried out on tensors without memory, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vidapt.planning.weightless import Account, size_of
from vidapt.recipe import Stage
from vidapt.training.optimizer import trainable
from vidapt.training.portions import learn_from


@dataclass(frozen=True)
class StepCost:
    """What a step costs.

    Attributes:
        flops: Floating-point operations (two for each product that is added).
        peak: Bytes at most beside weights and the optimizer's state, gradients included.
        gradients: Bytes of the gradients.
        logits: Bytes of the largest table of logits, which `peak` holds too.
    """

    flops: float
    peak: int
    gradients: int
    logits: int

    @property
    def activations(self) -> int:
        """Bytes beside the gradients: what layers keep, and what is between them."""
        return max(0, self.peak - self.gradients)


def step_cost(model: Any, objective: nn.Module, stage: Stage, batches: Sequence[Any]) -> StepCost:
    """Carry a step out on a model without weights.

    Args:
        model: Made by `Weightless.module`, its parts frozen and freed as the stage has them.
        objective: Likewise.
        stage: Its precision.
        batches: The step's portions.
    """
    account, counter = Account(), FlopCounterMode(display=False)
    given = [tensor for batch in batches for tensor in _given(batch)]
    weights = [weight for _, weight in trainable(model, objective)]
    for weight in weights:
        weight.grad = None
    # A head that makes logits asks for a table of them; what else is as wide as a vocabulary is none.
    tables = _Tables(model)

    def lower() -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16) if stage.precision == "bfloat16" else nullcontext()

    with account, counter, tables:
        for tensor in given:
            account.hold(tensor)
        learn_from(list(batches), partial(objective, model), lower, _unchecked, weights)
    return StepCost(
        float(counter.get_total_flops()),
        account.peak,
        size_of([weight.grad for weight in weights if weight.grad is not None]),
        tables.largest,
    )


def _unchecked(mean: Tensor) -> None:
    """There is no number to look at."""
    del mean


def _given(batch: Any) -> list[Tensor]:
    """What a step has at hand when it begins, since it comes from a store."""
    footage = getattr(batch, "_footage", None)
    if getattr(footage, "keeps", None) != "features":
        return []
    seen = batch.seen if hasattr(batch, "seen") else [batch.features]
    return [
        t for one in seen for f in getattr(one, "features", (one,)) for t in (f.x, f.extra) if t is not None
    ]


class _Tables:
    """Notes the largest table of logits that the model's output layer makes."""

    def __init__(self, model: Any) -> None:
        self.largest = 0
        language = getattr(model, "language", None)
        self._head = None if language is None else language.get_output_embeddings()

    def __enter__(self) -> None:
        def note(module: nn.Module, given: Any, made: Tensor) -> None:
            del module, given
            self.largest = max(self.largest, made.numel() * 4)  # they become float32

        self._hook = None if self._head is None else self._head.register_forward_hook(note)

    def __exit__(self, *error: object) -> None:
        if self._hook is not None:
            self._hook.remove()
