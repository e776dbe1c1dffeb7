"""The margin term against its equation in float64, and what it says of a model that knows nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidapt.objectives import Pairs
from vidapt.objectives.margin import Part


def unit(*shape: int, seed: int) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(x, dim=-1).requires_grad_()


def pairs(false_of: list[int] | None = None, seed: int = 0) -> Pairs:
    """Three clips, four texts (clips 0, 0, 1, 2) and the falsified copies asked for."""

    def none(level: str) -> Tensor:
        raise AssertionError(level)

    of = None if false_of is None else torch.tensor(false_of, dtype=torch.long)
    return Pairs(
        videos=unit(3, 8, seed=seed),
        texts=unit(4, 8, seed=seed + 1),
        clip_of=torch.tensor([0, 0, 1, 2]),
        group=torch.arange(3),
        scale=torch.tensor(100.0),
        token_mask=torch.ones(4, 5, dtype=torch.bool),
        patches=none,
        tokens=none,
        false_texts=None if of is None else unit(len(of), 8, seed=seed + 2),
        false_of=of,
    )


def dot(a: Tensor, b: Tensor) -> float:
    return math.fsum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def oracle(given: Pairs, margin: float, *, hardest: bool) -> float:
    """The hinge for each copy, put together for each original, averaged over originals; plain arithmetic."""
    assert given.false_texts is not None
    assert given.false_of is not None
    costs: dict[int, list[float]] = {}
    for k, original in enumerate(given.false_of.tolist()):
        clip = given.videos[int(given.clip_of[original])]
        distance = dot(clip, given.texts[original]) - dot(clip, given.false_texts[k])
        costs.setdefault(original, []).append(max(0.0, margin - distance))
    each = [max(cost) if hardest else math.fsum(cost) / len(cost) for cost in costs.values()]
    return math.fsum(each) / len(each)


@pytest.mark.parametrize("hardest", [False, True])
@pytest.mark.parametrize("margin", [0.05, 0.3, 2.0])
def test_the_term_is_its_equation(hardest: bool, margin: float) -> None:
    given = pairs([3, 0, 0, 2, 0])
    term = Part(Part.Config(margin=margin, hardest=hardest))(given)
    assert abs(term.value.item() - oracle(given, margin, hardest=hardest)) < 1e-12
    # Comparing with another text's clip is another number.
    wrong = replace(given, clip_of=torch.tensor([1, 1, 2, 0]))
    assert abs(oracle(wrong, margin, hardest=hardest) - term.value.item()) > 1e-3


def test_gradients_are_those_of_finite_differences() -> None:
    given = pairs([3, 0, 0, 2])
    part = Part(Part.Config(margin=2.0))
    assert given.false_texts is not None
    leaves = (given.videos, given.texts, given.false_texts)

    def value(videos: Tensor, texts: Tensor, false: Tensor) -> Tensor:
        return part(replace(given, videos=videos, texts=texts, false_texts=false)).value

    assert torch.autograd.gradcheck(value, leaves)


def test_a_model_that_knows_nothing_pays_the_margin_and_wins_half() -> None:
    given = pairs([0, 1, 2, 3])
    same = replace(given, false_texts=given.texts.detach().clone())
    term = Part(Part.Config(margin=0.2))(same)
    assert term.value.item() == pytest.approx(term.chance, abs=1e-12)
    assert term.gauges["wins"] == term.gauges["wins_chance"] == 0.5
    assert term.gauges["distance"] == 0.0


def test_a_model_that_is_right_by_more_than_the_margin_pays_nothing() -> None:
    given = pairs([0, 2, 3])
    assert given.false_of is not None
    right = replace(
        given,
        texts=given.videos[given.clip_of].detach(),
        false_texts=-given.videos[given.clip_of[given.false_of]].detach(),
    )
    term = Part(Part.Config(margin=0.5))(right)
    assert term.value.item() == 0.0
    assert (term.gauges["wins"], term.gauges["distance"]) == (1.0, pytest.approx(2.0))
    swapped = replace(right, texts=-right.texts, false_texts=-right.false_texts)  # type: ignore[operator]
    assert Part(Part.Config(margin=0.5))(swapped).gauges["wins"] == 0.0


def test_without_falsified_texts_it_costs_nothing_and_trains_nothing() -> None:
    for given in (pairs(), pairs([])):
        term = Part(Part.Config())(given)
        assert term.gauges["false_texts"] == 0.0
        assert "wins" not in term.gauges
        (gradient,) = torch.autograd.grad(term.value, given.texts)
        assert term.value.item() == 0.0
        assert not gradient.any()


def test_falsified_texts_without_originals_are_refused() -> None:
    with pytest.raises(ValueError, match="2 falsified texts"):
        Part(Part.Config())(replace(pairs([0, 1]), false_of=None))
    with pytest.raises(ValueError, match="2 falsified texts"):
        Part(Part.Config())(replace(pairs([0, 1]), false_of=torch.tensor([0])))
