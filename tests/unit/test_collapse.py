"""Penalties and numbers of collapse equal their definitions, pair by pair in double precision."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs_tools import make_pairs
from torch import Tensor

from vidapt.objectives import Pairs
from vidapt.objectives._spread import effective_rank, mean_similarity
from vidapt.objectives.collapse import Part

LENGTHS = [4, 1, 2, 0]


def part(**options: Any) -> Part:
    return Part(Part.Config(**options))


def pairwise(vectors: list[Tensor], power: int) -> Tensor:
    found = [
        ((a * b).sum() / (a.norm() * b.norm())) ** power
        for i, a in enumerate(vectors)
        for j, b in enumerate(vectors)
        if i != j
    ]
    return torch.stack(found).mean()


def oracle(pairs: Pairs, token_weight: float, patch_weight: float, above: float, power: int) -> Tensor:
    texts = zip(pairs.tokens("encoder"), pairs.token_mask, strict=True)
    words = [[w for w, real in zip(text, mask, strict=True) if real] for text, mask in texts]
    sets = [[text for text in words if len(text) > 1], [list(clip) for clip in pairs.patches("encoder")]]
    return sum(
        weight * torch.stack([(pairwise(each, power) - above).clamp_min(0) for each in some]).mean()
        for weight, some in zip((token_weight, patch_weight), sets, strict=True)
    )


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0)])
@pytest.mark.parametrize("above", [0.0, 0.05])
def test_penalty_and_gradient_equal_the_definition(
    squared: bool, weights: tuple[float, float], above: float
) -> None:
    pairs = make_pairs([0, 1, 2, 2], LENGTHS, seed=3)
    term = part(token_weight=weights[0], patch_weight=weights[1], above=above, squared=squared)
    ours, theirs = term(pairs).value, oracle(pairs, *weights, above, 1 + squared)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    assert theirs > 1e-3
    leaves = [pairs.patches("encoder"), pairs.tokens("encoder")]
    grads = [torch.autograd.grad(value, leaves) for value in (ours, theirs)]
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=0)
    assert (ours - oracle(pairs, *weights, above, 2 - squared)).abs() > 1e-3
    assert (ours - oracle(pairs, *weights, above + 0.02, 1 + squared)).abs() > 1e-3


def test_padding_takes_no_part() -> None:
    pairs = make_pairs([0, 1], [4, 2])
    other = pairs.tokens("encoder").detach().clone()
    other[1, 2:] = 100.0
    padded = dataclasses.replace(pairs, tokens=lambda level: other)
    assert part()(padded).value.item() == pytest.approx(part()(pairs).value.item())
    real = dataclasses.replace(padded, token_mask=torch.ones(2, 4, dtype=torch.bool))
    assert abs(part()(real).value.item() - part()(pairs).value.item()) > 1e-3


def test_collapse_shows_in_every_number() -> None:
    pairs = make_pairs([0, 1, 2], [4, 4, 4])
    one = torch.randn(6, dtype=torch.float64)
    same = dataclasses.replace(
        pairs,
        patches=lambda level: one.expand(3, 7, 6),
        tokens=lambda level: one.expand(3, 4, 6),
        videos=one.expand(3, 6),
        texts=one.expand(3, 6),
    )
    spread, collapsed = part()(pairs).gauges, part()(same).gauges
    for name in ("tokens", "patches", "videos", "texts"):
        assert collapsed[f"{name}_similarity"] == pytest.approx(1.0)
        assert spread[f"{name}_similarity"] < 0.5
        assert collapsed[f"{name}_rank"] == pytest.approx(1.0, abs=1e-3)
        assert spread[f"{name}_rank"] > 2
    assert part()(same).value.item() == pytest.approx(2.0)
    assert math.isnan(part()(same).chance)


@given(
    lengths=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    patches=st.integers(1, 3),
    zeros=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_no_input_gives_a_number_that_is_none(lengths: list[int], patches: int, zeros: bool) -> None:
    if not any(lengths):
        lengths = [*lengths[:-1], 1]
    pairs = make_pairs([0] * len(lengths), lengths, patches=patches)
    if zeros:
        for leaf in (pairs.patches("encoder"), pairs.tokens("encoder")):
            leaf.data.zero_()
    for squared in (False, True):
        term = part(squared=squared)(pairs)
        grads = torch.autograd.grad(term.value, [pairs.patches("encoder"), pairs.tokens("encoder")])
        assert term.value.isfinite()
        assert all(grad.isfinite().all() for grad in grads)
        assert all(math.isfinite(gauge) for gauge in term.gauges.values())
        assert term.gauges["skipped"] == sum(length < 2 for length in lengths)


def test_a_single_token_and_a_single_patch_teach_nothing() -> None:
    pairs = make_pairs([0, 0], [1, 0], patches=1)
    value = part()(pairs).value
    grads = torch.autograd.grad(value, [pairs.patches("encoder"), pairs.tokens("encoder")])
    assert value.item() == 0
    assert not any(grad.any() for grad in grads)


def test_effective_rank_is_e_to_the_entropy_of_singular_values() -> None:
    torch.manual_seed(0)
    for shape in ((9, 5), (5, 9)):
        x = torch.randn(shape, dtype=torch.float64)
        values = torch.linalg.svdvals(x / x.norm(dim=-1, keepdim=True))
        share = values / values.sum()
        assert effective_rank(x) == pytest.approx(math.exp(-float((share * share.log()).sum())), abs=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_equal_directions_count_as_many_as_they_are(rank: int) -> None:
    x = torch.eye(8)[:rank].repeat(6, 1) * torch.arange(1, 6 * rank + 1).unsqueeze(-1)
    assert effective_rank(x) == pytest.approx(rank, abs=1e-4)
    assert effective_rank(torch.zeros(3, 4)) == 0
    assert effective_rank(torch.zeros(0, 4)) == 0


def test_many_vectors_are_thinned_evenly() -> None:
    x = torch.cat([torch.eye(4)[:1].repeat(500, 1), torch.eye(4)[1:2].repeat(500, 1)])
    assert effective_rank(x, rows=10) == pytest.approx(2, abs=1e-6)


def test_opposite_vectors_are_alike_only_when_squared() -> None:
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert mean_similarity(x).item() == pytest.approx(-1)
    assert mean_similarity(x, squared=True).item() == pytest.approx(1)


def test_of_many_vectors_the_first_and_the_last_are_taken_and_of_few_all() -> None:
    axes = torch.eye(4, dtype=torch.float64)
    ends = torch.cat([axes[:1], axes[1:2].repeat(7, 1), axes[2:3]])
    assert effective_rank(ends, rows=3) == pytest.approx(3)
    assert effective_rank(ends, rows=2) == pytest.approx(2)
    few = math.exp(-sum(s * math.log(s) for s in (1 / (2 + 7**0.5), 1 / (2 + 7**0.5), 7**0.5 / (2 + 7**0.5))))
    assert effective_rank(ends, rows=9) == pytest.approx(few)
    assert effective_rank(ends) == pytest.approx(few)
    whole = torch.cat([axes[:1], axes[1:2].repeat(256, 1)])
    assert effective_rank(whole) == pytest.approx(effective_rank(whole[:256]))  # 256 are taken, if not said


@pytest.mark.parametrize("squared", [False, True])
def test_fewer_than_two_vectors_are_not_alike(squared: bool) -> None:
    x = torch.randn(4, 3, 5)
    mask = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1]]).bool()
    found = mean_similarity(x, mask, squared=squared)
    assert found[:2].tolist() == pytest.approx([0, 0], abs=1e-6)
    for row, kept in ((2, x[2, [0, 2]]), (3, x[3])):
        assert found[row].item() == pytest.approx(pairwise(list(kept), 1 + squared).item(), abs=1e-5)
    single = part(squared=squared)(make_pairs([0, 1], [1, 1], patches=1))
    assert single.value.item() == 0
    assert (single.gauges["patches_similarity"], single.gauges["tokens_similarity"]) == (0, 0)


def test_one_clip_and_one_text_count_whole() -> None:
    pairs = make_pairs([0], [3])
    for options in ({"token_weight": 0}, {"patch_weight": 0}):
        weights = (options.get("token_weight", 1.0), options.get("patch_weight", 1.0))
        torch.testing.assert_close(part(**options)(pairs).value, oracle(pairs, *weights, 0.0, 1))


def test_all_is_made_where_the_vectors_lie() -> None:
    pairs = make_pairs([0, 1], [3, 2])
    expected = part(rows=4)(pairs)
    with torch.device("meta"):  # what is made without a place would be there
        found = part(rows=4)(pairs)
    torch.testing.assert_close(found.value, expected.value)
    assert found.gauges == pytest.approx(expected.gauges)
