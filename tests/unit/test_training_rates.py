"""What learns at which rate: the schedule against its equation, and the groups of the optimizer."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from align_tools import dual
from torch import nn
from training_tools import video_lm

from vidapt.errors import ConfigError
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import DualBlueprint, Optimizer, Rates, Stage, Trained
from vidapt.training.freeze import DUAL_PARTS, PARTS, learning, set_trainable
from vidapt.training.optimizer import make_optimizer
from vidapt.training.order import total_steps
from vidapt.training.schedule import rate_factor, set_rates


def scheduled(decay: str, warmup: float, floor: float, step: int, total: int) -> float:
    """The schedule as its equation has it, in another form."""
    warm = warmup * total
    if step < warm:
        return (1 + step) / (1 + warm)
    left = 1 - (step - warm) / max(1.0, total - warm)
    shape = {"linear": left, "constant": 1.0, "cosine": math.sin(math.pi / 2 * left) ** 2}[decay]
    return floor + shape - floor * shape


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("warmup", "floor"), [(0.0, 0.0), (0.03, 0.0), (0.25, 0.1), (0.5, 1.0)])
@pytest.mark.parametrize("total", [1, 4, 100])
def test_every_step_has_the_rate_of_its_equation(decay: Any, warmup: float, floor: float, total: int) -> None:
    settings = Optimizer(warmup=warmup, decay=decay, floor=floor)
    found = [rate_factor(settings, step, total) for step in range(total)]
    wanted = [scheduled(decay, warmup, floor, step, total) for step in range(total)]
    assert found == pytest.approx(wanted, abs=1e-12)


def test_a_warm_up_that_ends_between_two_steps_takes_the_step_before_its_end() -> None:
    """2.5 of 10 steps: steps 0, 1 and 2 are warm-up, and step 3 is the first behind it."""
    settings = Optimizer(warmup=0.25, decay="linear")
    found = [rate_factor(settings, step, 10) for step in range(5)]
    assert found == pytest.approx([1 / 3.5, 2 / 3.5, 3 / 3.5, 1 - 0.5 / 7.5, 1 - 1.5 / 7.5])


@pytest.mark.parametrize(("cooldown", "floor"), [(0.1, 0.0), (0.25, 0.1), (1.0, 0.5)])
def test_a_stable_rate_falls_in_a_line_at_the_end(cooldown: float, floor: float) -> None:
    settings = Optimizer(warmup=0.1, decay="wsd", cooldown=cooldown, floor=floor)
    found = [rate_factor(settings, step, 40) for step in range(4, 40)]
    wanted = [floor + (1 - floor) * min(1.0, (40 - step) / (cooldown * 40)) for step in range(4, 40)]
    assert found == pytest.approx(wanted)
    assert found[-1] == pytest.approx(floor + (1 - floor) / (cooldown * 40))


def test_a_warm_up_rises_from_its_floor() -> None:
    """As PLLaVA's does, from a quarter of the peak."""
    settings = Optimizer(warmup=0.5, warmup_floor=0.25, decay="constant", floor=0.1)
    found = [rate_factor(settings, step, 8) for step in range(5)]
    assert found == pytest.approx([0.25 + 0.75 * (step + 1) / 5 for step in range(4)] + [1.0])


def test_each_group_has_its_own_share_of_the_peak() -> None:
    groups = [{"params": [torch.zeros(1)], "lr": 9.0, "peak": peak} for peak in (0.5, 2.0)]
    optimizer = torch.optim.AdamW(groups)
    set_rates(optimizer, Optimizer(warmup=0.5, decay="constant"), 0, 6)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.5]


class Weighted(nn.Module):
    """An objective with a matrix and a vector of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(2, 2))
        self.vector = nn.Parameter(torch.zeros(2))


RATES = Rates(towers=1e-1, connector=1e-2, language=1e-3, text=1e-4, projections=1e-5, objective=1e-6)


def grouped(optimizer: torch.optim.Optimizer) -> dict[tuple[str, bool], tuple[float, float, int]]:
    """By part and whether its weights are matrices: rate, decay, and how many there are."""
    return {
        (group["part"], group["params"][0].ndim > 1): (
            group["peak"],
            group["weight_decay"],
            len(group["params"]),
        )
        for group in optimizer.param_groups
    }


def test_an_objectives_weights_learn_at_their_own_rate_and_its_vectors_do_not_decay() -> None:
    model = video_lm()
    set_trainable(model, Trained(language="frozen"))
    settings = Optimizer(rates=RATES, weight_decay=0.5, eps=1e-3)
    optimizer = make_optimizer(model, Weighted(), settings)
    found = grouped(optimizer)
    assert found["objective", True] == (1e-6, 0.5, 1)
    assert found["objective", False] == (1e-6, 0.0, 1)
    assert found["connector", True][:2] == (1e-2, 0.5)
    assert found["connector", False][:2] == (1e-2, 0.0)
    assert {part for part, _ in found} == {"objective", "connector"}
    assert {group["eps"] for group in optimizer.param_groups} == {1e-3}
    assert all(group["lr"] == group["peak"] for group in optimizer.param_groups)


def test_a_dual_encoders_temperature_learns_with_its_projections() -> None:
    model = DualEncoder(DualBlueprint.model_validate(dual()))
    set_trainable(model, Trained(towers="frozen", text="frozen"))
    free = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert free == {"visual_projection.weight", "text_projection.weight", "logit_scale"}
    assert grouped(make_optimizer(model, Weighted(), Optimizer(rates=RATES, weight_decay=0.5))) == {
        ("projections", True): (1e-5, 0.5, 2),
        ("projections", False): (1e-5, 0.0, 1),
        ("objective", True): (1e-6, 0.5, 1),
        ("objective", False): (1e-6, 0.0, 1),
    }


def test_parts_of_the_other_kind_of_model_are_none_that_learn() -> None:
    still = Trained(connector="frozen", language="frozen", text="full")
    with pytest.raises(ConfigError) as caught:
        set_trainable(video_lm(), still)
    assert "every part of this model is frozen" in str(caught.value)
    assert "free one of ['towers', 'connector', 'language']" in str(caught.value)


def test_names_of_rates_are_those_of_parts_that_are_not_frozen() -> None:
    stage = Stage(name="a", steps=1, train=Trained(language="lora", connector="frozen", text="frozen"))
    assert learning(PARTS, stage) == ["language"]
    assert learning(DUAL_PARTS, stage) == ["projections"]


def test_epochs_are_counted_in_whole_steps() -> None:
    order = SimpleNamespace(steps_per_epoch=4)
    for epochs, steps in ((1, 4), (2, 8), (1.25, 5), (1.26, 6), (0.001, 1)):
        assert total_steps(Stage(name="a", epochs=epochs), order) == steps
    assert total_steps(Stage(name="a", steps=3), order) == 3
