"""What next-token prediction keeps for the backward pass, and that keeping less changes nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from vidapt.objectives.next_token import Part

LABELS, VOCABULARY, WIDTH = 96, 500, 8


class Head:
    """The end of a language model alone, with the states it is given."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        shapes = {"weight": (VOCABULARY, WIDTH), "rows": (LABELS, WIDTH)}
        self.leaves = {
            name: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
            for name, shape in shapes.items()
        }
        self.labels = torch.randint(0, VOCABULARY, (LABELS,), generator=generator)
        self.drop = 0.0

    @property
    def batch(self) -> Any:
        return SimpleNamespace(packed=SimpleNamespace(labels=self.labels, weights=None), seen=[])

    def visual(self, seen: Any) -> None:
        """Nothing is seen."""

    def states(self, packed: Any, visual: Any) -> Tensor:
        return self.leaves["rows"] * 1.0

    def head(self, states: Tensor) -> Tensor:
        return torch.nn.functional.dropout(states, self.drop) @ self.leaves["weight"].T


def kept_bytes(rows: int) -> int:
    """Bytes of the storages that the graph holds once the loss is known."""
    model = Head()
    storages: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        Part(Part.Config(head_rows=rows))(model, model.batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


def test_no_logits_are_kept_of_more_labels_than_one_call_takes() -> None:
    logits = LABELS * VOCABULARY * 8
    assert kept_bytes(LABELS) >= logits
    assert kept_bytes(LABELS // 2) < logits / 10
    assert kept_bytes(7) < logits / 10


def value_and_gradients(rows: int, drop: float = 0.0, **options: Any) -> dict[str, Tensor]:
    model = Head()
    model.drop = drop
    torch.manual_seed(1)
    loss = Part(Part.Config(head_rows=rows, **options))(model, model.batch)
    loss.total.backward()
    assert loss.weight == LABELS
    found = {name: leaf.grad for name, leaf in model.leaves.items()}
    return {"total": loss.total.detach(), **{name: grad for name, grad in found.items() if grad is not None}}


@pytest.mark.parametrize("rows", [1, 7, LABELS - 1])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_value_and_gradients_do_not_depend_on_labels_per_call(rows: int, smoothing: float) -> None:
    whole = value_and_gradients(LABELS, smoothing=smoothing)
    parts = value_and_gradients(rows, smoothing=smoothing)
    assert whole.keys() == parts.keys() == {"total", "weight", "rows"}
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-12, atol=1e-12)


def test_a_head_that_drops_at_random_is_computed_anew_with_the_same_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frugal = value_and_gradients(32, drop=0.5)
    monkeypatch.setattr(Part, "_frugal_loss", Part._loss)
    keeping = value_and_gradients(32, drop=0.5)
    for name, tensor in keeping.items():
        assert torch.equal(frugal[name], tensor), name


def test_it_asks_for_no_more_than_the_answers_of_what_was_seen() -> None:
    """The batch has neither pixels nor a simulator's columns, nor features but those the connector reads."""
    assert Part(Part.Config())(Head(), Head().batch).total.isfinite()
    assert (Part.columns, Part.reads_features, Part.answers) == ((), False, True)
