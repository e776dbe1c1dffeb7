"""A step in portions, and layers that are computed again, give the gradient of the step as a whole."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from training_tools import recipe, stage, trained, video_lm, write_clips

from vidapt.errors import ConfigError
from vidapt.objectives import Loss
from vidapt.recipe import Trained
from vidapt.training import step as training_step
from vidapt.training.align.aligning import Aligning
from vidapt.training.freeze import set_trainable, training_mode
from vidapt.training.portions import keep_states, learn_from, portions


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), clips=5, questions=3)


def nothing(mean: Tensor) -> None:
    assert mean.ndim == 0


@given(st.integers(0, 20), st.none() | st.integers(1, 30))
def test_portions_hold_all_members_in_their_order(count: int, at_once: int | None) -> None:
    found = portions(range(count), at_once)
    assert [member for some in found for member in some] == list(range(count))
    assert all(0 < len(some) <= (at_once or count) for some in found)
    assert len(found) == (-(-count // at_once) if at_once else min(count, 1))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_the_gradient_is_that_of_the_mean_over_all_labels(labels: list[int]) -> None:
    """Portions of few labels count for few."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(count, 3, generator=generator, dtype=torch.float64) for count in labels]
    weight, idle = (nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))

    def loss_of(batch: Tensor) -> Loss:
        total = (batch @ weight).square().sum()
        return Loss(total, len(batch), {"part": float(total.detach())})

    whole = learn_from([torch.cat(rows)], loss_of, nullcontext, nothing, [weight, idle])
    expected = weight.grad.clone() if weight.grad is not None else None
    weight.grad = None
    apart = learn_from(list(rows), loss_of, nullcontext, nothing, [weight, idle])
    assert expected is not None
    assert weight.grad is not None
    assert torch.allclose(weight.grad, expected, rtol=1e-12)
    assert idle.grad is None
    assert (apart.weight, float(apart.total)) == (whole.weight, pytest.approx(float(whole.total), rel=1e-6))
    assert apart.parts["part"] == pytest.approx(whole.parts["part"])


def test_a_portion_is_let_go_once_it_has_been_learned_from() -> None:
    class Held:
        pass

    batches: list[Any] = [Held() for _ in range(4)]
    seen = [weakref.ref(batch) for batch in batches]
    weight = nn.Parameter(torch.ones(()))
    alive: list[int] = []

    def loss_of(batch: Held) -> Loss:
        assert batch is seen[len(alive)](), "in their order"
        alive.append(sum(one() is not None for one in seen))
        return Loss(weight * 2.0, 1.0)

    learn_from(batches, loss_of, nullcontext, nothing, [weight])
    assert alive == [4, 3, 2, 1]


def test_every_portion_has_to_be_finite() -> None:
    weight = nn.Parameter(torch.ones(()))

    def check(mean: Tensor) -> None:
        if not torch.isfinite(mean):
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        learn_from([1.0, float("nan")], lambda x: Loss(weight * x, 1.0), nullcontext, check, [weight])


CHANGES: list[dict[str, Any]] = [
    {"batching": {"clips": 4, "at_once": 1}},
    {"batching": {"clips": 4, "at_once": 3}},
    {"batching": {"clips": 4, "at_once": 3, "shared_prefix": False}},
    {"batching": {"clips": 4}, "recompute": True},
    {"batching": {"clips": 4, "at_once": 2}, "recompute": True},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize(
    "learns", [{}, {"towers": "frozen", "language": "lora", "lora": {"rank": 2}}], ids=["full", "adapters"]
)
def test_a_step_has_the_same_gradient(
    labels: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    learns: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = {"connector": 1e-2, "language": 1e-2, **({} if learns else {"towers": 1e-2})}
    given = {"steps": 1, "train": learns, "optimizer": {"rates": rates}}
    found: list[Tensor] = []
    clipped = training_step.clipped

    def keep(weights: Sequence[nn.Parameter], longest: float | None) -> Tensor:
        found.append(torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None]))
        return clipped(weights, longest)

    monkeypatch.setattr(training_step, "clipped", keep)
    trained(recipe(stage(labels, batching={"clips": 4}, **given)), tmp_path / "whole")
    trained(recipe(stage(labels, **given, **changes)), tmp_path / "other")
    whole, other = found
    assert len(whole) > 1000
    assert float((other - whole).norm() / whole.norm()) < 1e-6


def held(model: nn.Module, run: Any) -> int:
    """Bytes kept for the backward pass."""
    kept: dict[int, int] = {}
    own = {weight.data_ptr() for weight in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


@pytest.mark.parametrize("train", [{"language": "full"}, {"language": "frozen", "towers": "frozen"}], ids=str)
def test_layers_that_are_computed_again_keep_little(train: dict[str, Any]) -> None:
    model = video_lm(language={"num_hidden_layers": 12, "attention_dropout": 0.0})
    trained_parts = Trained.model_validate({"connector": "full", **train})
    set_trainable(model, trained_parts)
    x = torch.randn(2, 64, 16, requires_grad=True)
    grads = []

    def run() -> None:
        states = model.language.model(inputs_embeds=x, use_cache=False).last_hidden_state
        grads.append(torch.autograd.grad(states.square().sum(), x)[0])

    training_mode(model, trained_parts)
    plain = held(model, run)
    training_mode(model, trained_parts, recompute=True)
    again = held(model, run)
    assert again <= 0.5 * plain
    assert torch.allclose(grads[0], grads[1], rtol=1e-5, atol=1e-6)
    training_mode(model, trained_parts)
    assert held(model, run) == plain, "it holds until the mode is set anew"


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layer of this model can be computed again"):
        keep_states([nn.Linear(2, 2)], again=True)
    keep_states([nn.Linear(2, 2)], again=False)


def test_pairs_of_a_step_cannot_be_compared_in_portions(labels: Path) -> None:
    asked = recipe(stage(labels, batching={"clips": 4, "at_once": 2}))
    with pytest.raises(ConfigError, match="would compare the clips of a portion"):
        Aligning().planned(asked)
