"""The global loss equals its equations, written here in plain loops and double precision."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs_tools import make_pairs, unit
from pydantic import ValidationError
from torch import Tensor

from vidapt.objectives import Pairs, principal
from vidapt.objectives._candidates import Choice, cross_entropy
from vidapt.objectives.contrastive import Part, _chosen

CLIP_OF = [0, 0, 1, 2, 2, 2, 3]
GROUP = [0, 1, 0, 2]


def part(**options: Any) -> Part:
    return Part(Part.Config(**options))


def row_loss(logits: list[Tensor], right: list[float], out: list[bool], positives: str) -> Tensor:
    """One row, candidate by candidate: `right` are shares, `out` says who takes no part."""
    inside = [c for c in range(len(logits)) if not out[c]]
    good = [c for c in inside if right[c] > 0]
    total = sum(right[c] for c in good)
    wrong = [logits[c].exp() for c in inside if right[c] == 0]
    everything = torch.stack([logits[c].exp() for c in inside]).sum()
    if positives == "any":
        found = sum(right[c] * logits[c].exp() for c in good)
        return -torch.log(found / (found + sum(wrong)))
    loss = torch.zeros((), dtype=torch.float64)
    for c in good:
        below = everything if positives == "each" else logits[c].exp() + sum(wrong)
        loss = loss - right[c] / total * torch.log(logits[c].exp() / below)
    return loss


def oracle(
    pairs: Pairs, look_alikes: str, positives: str, count: str = "texts", weight: float = 1.0
) -> Tensor:
    clips, texts = len(pairs.videos), len(pairs.texts)
    clip_of, group = pairs.clip_of.tolist(), pairs.group.tolist()

    def role(clip: int, text: int) -> tuple[float, bool]:
        if clip_of[text] == clip:
            return 1.0, False
        if group[clip_of[text]] != group[clip] or look_alikes == "negatives":
            return 0.0, False
        return (0.0, True) if look_alikes == "excluded" else (weight, False)

    def logit(clip: int, text: int) -> Tensor:
        return pairs.scale * (pairs.videos[clip] * pairs.texts[text]).sum()

    above, below = torch.zeros((), dtype=torch.float64), 0.0
    for text in range(texts):
        share, out = zip(*(role(clip, text) for clip in range(clips)), strict=True)
        loss = row_loss([logit(clip, text) for clip in range(clips)], list(share), list(out), positives)
        importance = 1 / clip_of.count(clip_of[text]) if count == "clips" else 1.0
        above, below = above + importance * loss, below + importance
    to_clips, rows = above / below, []
    for clip in sorted(set(clip_of)):
        share, out = zip(*(role(clip, text) for text in range(texts)), strict=True)
        rows.append(row_loss([logit(clip, t) for t in range(texts)], list(share), list(out), positives))
    return (to_clips + torch.stack(rows).mean()) / 2


def leaves(pairs: Pairs) -> list[Tensor]:
    return [pairs.videos, pairs.texts, pairs.scale]


@pytest.mark.parametrize("positives", ["each", "any", "apart"])
@pytest.mark.parametrize("look_alikes", ["negatives", "excluded", "positives"])
@pytest.mark.parametrize(("count", "weight"), [("texts", 1.0), ("clips", 0.3)])
def test_loss_and_gradient_equal_the_equations(
    positives: str, look_alikes: str, count: str, weight: float
) -> None:
    pairs = make_pairs(CLIP_OF, group=GROUP)
    options = {
        "positives": positives,
        "look_alikes": look_alikes,
        "count": count,
        "look_alike_weight": weight,
    }
    ours = part(**options)(pairs).value
    theirs = oracle(pairs, look_alikes, positives, count, weight)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    grads = [torch.autograd.grad(value, leaves(pairs)) for value in (ours, theirs)]
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"look_alikes": "excluded"}, ("negatives", "each")),
        ({"look_alikes": "positives"}, ("excluded", "each")),
        ({"positives": "any"}, ("negatives", "each")),
        ({"positives": "apart"}, ("negatives", "any")),
        ({"count": "clips"}, ("negatives", "each")),
        ({"halved": False}, ("negatives", "each")),
    ],
)
def test_every_option_matters(left: dict[str, Any], right: tuple[str, str]) -> None:
    pairs = make_pairs(CLIP_OF, group=GROUP)
    assert (part(**left)(pairs).value - oracle(pairs, *right)).abs() > 1e-3


def test_one_text_a_clip_is_the_loss_of_clip() -> None:
    pairs = make_pairs([0, 1, 2, 3, 4])
    logits, truth = pairs.scale * pairs.videos @ pairs.texts.T, torch.arange(5)

    def clip(smoothing: float) -> Tensor:
        ways = (logits, logits.T)
        return torch.stack([F.cross_entropy(way, truth, label_smoothing=smoothing) for way in ways]).sum()

    for positives in ("each", "any", "apart"):
        ours = part(positives=positives, halved=False)(pairs).value
        torch.testing.assert_close(ours, clip(0.0), atol=1e-9, rtol=0)
    smooth = part(smoothing=0.1, halved=False)(pairs).value
    torch.testing.assert_close(smooth, clip(0.1), atol=1e-9, rtol=0)
    assert (smooth - clip(0.0)).abs() > 1e-3


@pytest.mark.parametrize("positives", ["each", "any", "apart"])
@pytest.mark.parametrize("look_alikes", ["negatives", "excluded", "positives"])
def test_chance_is_what_equal_vectors_give(positives: str, look_alikes: str) -> None:
    same = unit(1, 6)
    pairs = make_pairs(CLIP_OF, group=GROUP, videos=same.expand(4, -1), texts=same.expand(7, -1))
    term = part(positives=positives, look_alikes=look_alikes)(pairs)
    assert term.chance == pytest.approx(term.value.item(), abs=1e-12)


def test_chance_is_the_logarithm_of_the_number_of_candidates() -> None:
    assert part()(make_pairs(list(range(8)))).chance == pytest.approx(math.log(8))
    assert part(halved=False)(make_pairs(list(range(8)))).chance == pytest.approx(2 * math.log(8))
    several = part()(make_pairs([0, 0, 1, 1, 2, 2]))
    assert several.chance == pytest.approx((math.log(3) + math.log(6)) / 2)
    assert several.gauges["floor"] == pytest.approx(math.log(2) / 2)
    one_of_two = part(positives="any")(make_pairs([0, 0, 1, 1, 2, 2]))
    assert one_of_two.chance == pytest.approx(math.log(3))


def test_the_floor_is_reached_by_the_truth() -> None:
    clips = torch.eye(4, 6, dtype=torch.float64)
    pairs = make_pairs(
        CLIP_OF, videos=clips, texts=clips[CLIP_OF], scale=torch.tensor(60.0, dtype=torch.float64)
    )
    term = part()(pairs)
    assert term.value.item() == pytest.approx(term.gauges["floor"], abs=1e-9)
    assert term.gauges["clips_found"] == pytest.approx(1.0)
    assert term.gauges["texts_found"] == pytest.approx(1.0)
    assert term.gauges["temperature"] == pytest.approx(1 / 60)


@pytest.mark.parametrize("which", ["videos", "texts"])
def test_near_duplicates_are_found_by_their_vectors(which: str) -> None:
    pairs = make_pairs([0, 1, 2, 3])
    vectors = getattr(pairs, which).detach().clone()
    vectors[2] = F.normalize(vectors[0] + 0.01 * vectors[1], dim=-1)
    plain = dataclasses.replace(pairs, **{which: vectors.requires_grad_()})
    grouped = dataclasses.replace(plain, group=torch.tensor([0, 1, 0, 2]))
    for look_alikes in ("excluded", "positives"):
        found = part(look_alikes=look_alikes, duplicate_above=0.99, duplicates=which)(plain)
        torch.testing.assert_close(found.value, part(look_alikes=look_alikes)(grouped).value)
        assert found.gauges["look_alikes"] == 2
    other = "texts" if which == "videos" else "videos"
    blind = part(look_alikes="excluded", duplicate_above=0.99, duplicates=other)(plain)
    assert blind.gauges["look_alikes"] == 0


def test_excluded_look_alikes_get_no_gradient_from_each_other() -> None:
    pairs = make_pairs([0, 1], group=[5, 5])
    term = part(look_alikes="excluded")(pairs)
    (grad,) = torch.autograd.grad(term.value, [pairs.videos])
    assert term.value.item() == pytest.approx(0.0, abs=1e-12)
    assert grad.abs().max() < 1e-12
    (punished,) = torch.autograd.grad(part()(pairs).value, [pairs.videos])
    assert punished.abs().max() > 1e-3


@given(clip_of=st.lists(st.integers(0, 3), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_order_of_texts_does_not_matter(clip_of: list[int], seed: int) -> None:
    pairs = make_pairs(clip_of, clips=4, group=[0, 0, 1, 2], seed=seed)
    mixed = torch.randperm(len(clip_of))
    shuffled = dataclasses.replace(
        pairs, texts=pairs.texts[mixed], clip_of=pairs.clip_of[mixed], token_mask=pairs.token_mask[mixed]
    )
    for look_alikes in ("negatives", "excluded", "positives"):
        values = [part(look_alikes=look_alikes)(each).value for each in (pairs, shuffled)]
        assert values[0].isfinite()
        torch.testing.assert_close(*values, atol=1e-12, rtol=0)


def test_a_step_without_texts_gives_nothing_to_learn() -> None:
    pairs = make_pairs([0, 1])
    empty = dataclasses.replace(
        pairs, texts=pairs.texts[:0], clip_of=pairs.clip_of[:0], token_mask=pairs.token_mask[:0]
    )
    for positives in ("each", "any", "apart"):
        value = part(positives=positives)(empty).value
        (grad,) = torch.autograd.grad(value, [pairs.videos])
        assert value.item() == 0
        assert not grad.any()


def test_halves_are_computed_in_single_precision() -> None:
    pairs = make_pairs(list(range(6)))
    halves = dataclasses.replace(pairs, videos=pairs.videos.bfloat16(), texts=pairs.texts.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = part()(halves).value
    singles = dataclasses.replace(halves, videos=halves.videos.double(), texts=halves.texts.double())
    torch.testing.assert_close(value.double(), part()(singles).value, atol=1e-5, rtol=0)


def test_long_and_short_texts_take_their_turns() -> None:
    pairs = make_pairs([0, 0, 1, 1, 2], [3, 9, 4, 2, 5])
    for which, rows in (("longest", [1, 2, 4]), ("shortest", [0, 3, 4])):
        chosen = dataclasses.replace(
            pairs, texts=pairs.texts[rows], clip_of=pairs.clip_of[rows], token_mask=pairs.token_mask[rows]
        )
        torch.testing.assert_close(part(texts=which)(pairs).value, part()(chosen).value)


def test_principal_components_are_those_of_the_singular_vectors() -> None:
    torch.manual_seed(0)
    x = torch.randn(9, 6, dtype=torch.float64, requires_grad=True)
    mean = x.mean(0, keepdim=True)
    directions = torch.linalg.svd(x - mean, full_matrices=False)[2][:3]
    theirs = (x - mean) @ directions.T @ directions + mean
    ours = principal(x, 3)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    probe = torch.randn_like(theirs)
    grads = [torch.autograd.grad((y * probe).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*grads, atol=1e-8, rtol=0)
    assert torch.autograd.gradcheck(lambda y: principal(y, 3), [x])
    assert (principal(x, 2) - theirs).abs().max() > 1e-2


def test_few_clips_have_no_more_components_than_are_kept() -> None:
    x = torch.randn(5, 6, dtype=torch.float64)
    assert principal(x, 4) is x
    assert principal(x, 3) is not x


def test_equally_strong_components_have_a_finite_gradient() -> None:
    x = torch.cat([torch.eye(6), -torch.eye(6)]).double().requires_grad_()
    principal(x, 3).square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_matching_by_components_is_matching_with_what_remains() -> None:
    pairs = make_pairs(list(range(8)))
    ours = part(components=3)(pairs).value
    rest = dataclasses.replace(pairs, videos=principal(pairs.videos, 3))
    torch.testing.assert_close(ours, part()(rest).value)
    assert (ours - part()(pairs).value).abs() > 1e-3


@pytest.mark.parametrize(
    "options", [{"smoothing": 0.1, "positives": "any"}, {"duplicate_above": 0.9}, {"smoothing": 1.0}]
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        part(**options)


def test_of_texts_of_one_length_the_first_is_taken() -> None:
    pairs = make_pairs([0, 0, 1, 1, 2, 2, 2], [5, 5, 2, 3, 4, 4, 4])
    for which, rows in (("longest", [0, 3, 4]), ("shortest", [0, 2, 4])):
        assert _chosen(pairs, which).tolist() == rows
    assert _chosen(pairs, "all").tolist() == list(range(7))


@pytest.mark.parametrize("which", ["videos", "texts"])
def test_only_a_cosine_above_the_bound_makes_a_duplicate(which: str) -> None:
    axes = torch.eye(6, dtype=torch.float64)
    pairs = make_pairs([0, 1, 2], **{which: axes[[0, 0, 1]]})
    for above, found in ((1.0, 0), (0.999, 2), (0.0, 2), (-0.001, 6)):
        term = part(look_alikes="excluded", duplicate_above=above, duplicates=which)(pairs)
        assert term.gauges["look_alikes"] == found
        assert term.gauges["candidates"] == pytest.approx(3 - found / 3)


def test_where_look_alikes_are_wrong_none_are_looked_for() -> None:
    assert part()(make_pairs(CLIP_OF, group=GROUP)).gauges["look_alikes"] == 0
    assert part(look_alikes="excluded")(make_pairs(CLIP_OF, group=GROUP)).gauges["look_alikes"] == 5


@pytest.mark.parametrize("positives", ["each", "any", "apart"])
def test_a_clip_without_a_text_is_no_row_though_it_looks_like_one_that_has_some(positives: str) -> None:
    pairs = make_pairs([0, 0, 1], clips=3, group=[0, 1, 0])
    theirs = oracle(pairs, "positives", positives, weight=0.5)
    ours = part(look_alikes="positives", positives=positives, look_alike_weight=0.5)(pairs).value
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)


def test_smoothing_is_spread_over_those_who_take_part() -> None:
    pairs = make_pairs([0, 1, 2], group=[4, 4, 5])
    logits = pairs.scale * pairs.texts @ pairs.videos.T
    allowed = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 1]], dtype=torch.bool)
    rows = []
    for way in (logits, logits.T):
        for row in range(3):
            inside = allowed[row].nonzero().flatten()
            right = int((inside == row).nonzero())
            rows.append(F.cross_entropy(way[row, inside], torch.tensor(right), label_smoothing=0.2))
    term = part(look_alikes="excluded", smoothing=0.2)(pairs)
    torch.testing.assert_close(term.value, torch.stack(rows).mean(), atol=1e-9, rtol=0)
    shares = [[0.9, 0.1], [0.9, 0.1], [0.2 / 3, 0.2 / 3, 0.8 + 0.2 / 3]]
    least = -sum(s * math.log(s) for share in shares for s in share) / 3
    assert term.gauges["floor"] == pytest.approx(least)


def test_who_has_one_candidate_has_nothing_to_smooth() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    choice = Choice(one, one.bool(), one[0])
    assert choice.targets(0.3).item() == pytest.approx(1.0)
    assert cross_entropy(one, choice, 0.3).item() == pytest.approx(0.0)


def test_the_best_of_those_who_take_part_is_what_is_found() -> None:
    share = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    allowed = torch.tensor([[True, True, False], [True, True, True], [True, True, True]])
    choice = Choice(share, allowed, torch.tensor([1.0, 3.0, 9.0]))
    logits = torch.tensor([[1.0, 0.0, 5.0], [2.0, 0.0, 1.0], [0.0, 0.0, 9.0]])
    assert choice.hits(logits) == pytest.approx(0.25)
    assert choice.rows.tolist() == pytest.approx([0.25, 0.75, 0.0])
    assert choice.mean(torch.tensor([4.0, 8.0, 100.0])).item() == pytest.approx(7.0)
    assert math.isnan(choice.hits(torch.zeros(0, 3)))


def test_components_are_at_most_what_vectors_are_wide() -> None:
    x = torch.randn(9, 3, dtype=torch.float64)
    assert principal(x, 3) is x
    assert principal(x, 2) is not x


def test_components_and_lengths_are_found_where_the_vectors_lie() -> None:
    pairs = make_pairs([0, 0, 1])
    with torch.device("meta"):  # what is made without a place would be there
        assert _chosen(pairs, "longest").tolist() == [0, 2]
        assert _chosen(pairs, "all").tolist() == [0, 1, 2]
