"""The local loss equals SPARC's equations, written here token by token in double precision."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from local_align_tools import CLIP_OF, LENGTHS, WAYS, cosine, group_of, oracle, part
from pairs_tools import make_pairs
from torch import Tensor

from vidapt.objectives import Pairs, _grouping
from vidapt.objectives._grouping import group
from vidapt.objectives.local_align import Part


def compare(pairs: Pairs, term: Part, theirs: Tensor, temperature: Tensor) -> float:
    """Largest difference of the loss and its gradients."""
    ours = term(pairs).value
    leaves = [pairs.patches("encoder"), pairs.tokens("encoder")]
    mine = torch.autograd.grad(ours, [*leaves, term.log_scale], retain_graph=True)
    other = torch.autograd.grad(theirs, [*leaves, temperature])
    # d / d log(1 / temperature) = -temperature d / d temperature
    expected = [*other[:2], -other[2] * temperature.detach()]
    gaps = [(a - b).abs().max() for a, b in zip([ours, *mine], [theirs, *expected], strict=True)]
    return max(gap.item() for gap in gaps)


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("mask", [True, False])
def test_loss_and_gradients_equal_the_equations(options: dict[str, Any], pooled: bool, mask: bool) -> None:
    pairs = make_pairs(CLIP_OF, LENGTHS)
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    theirs = oracle(pairs, options, temperature, pooled=pooled, mask=mask)
    ours = part(**options, reduction="pooled" if pooled else "sample", mask=mask, temperature=0.3)
    assert compare(pairs, ours, theirs, temperature) < 1e-9


@pytest.mark.parametrize(
    "change",
    [
        {"sigma": 0.3},
        {"sparsify": "top_k", "k": 3},
        {"sparsify": "quantile", "q": 0.2},
        {"sigma": 0.6, "reduction": "sample"},
        {"sigma": 0.6, "mask": False},
        {"sigma": 0.6, "temperature": 0.31},
        {"sigma": 0.6, "across": "batch"},
    ],
    ids=str,
)
def test_any_other_choice_breaks_it(change: dict[str, Any]) -> None:
    pairs = make_pairs(CLIP_OF, LENGTHS)
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    theirs = oracle(pairs, {"sigma": 0.6}, temperature)
    assert compare(pairs, part(**{"temperature": 0.3} | change), theirs, temperature) > 1e-3


def test_a_text_of_another_clip_breaks_it() -> None:
    pairs = make_pairs(CLIP_OF, LENGTHS)
    moved = dataclasses.replace(pairs, clip_of=pairs.clip_of.roll(1))
    temperature = torch.tensor(0.07, dtype=torch.float64, requires_grad=True)
    assert compare(pairs, part(), oracle(moved, {}, temperature), temperature) > 1e-3


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("rows", [2, 64])
def test_the_gradient_of_groups_is_right(
    options: dict[str, Any], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_grouping, "ROWS", rows)
    torch.manual_seed(0)
    words = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    patches = torch.randn(3, 6, 4, dtype=torch.float64, requires_grad=True)
    clip, keep = torch.tensor([0, 0, 0, 2, 2]), part(**options)._keep
    assert torch.autograd.gradcheck(lambda w, p: group(w, clip, p, keep)[0], [words, patches])


def test_halves_among_patches_give_the_same_groups_and_halves_of_gradient() -> None:
    torch.manual_seed(0)
    words, clip = torch.randn(5, 4, requires_grad=True), torch.tensor([0, 0, 0, 1, 1])
    halves = torch.randn(2, 6, 4).bfloat16().requires_grad_()
    singles = halves.detach().float().requires_grad_()
    grads = []
    for patches in (halves, singles):
        grouped = group(words, clip, patches, part()._keep)[0]
        grads.append(torch.autograd.grad(grouped.sin().sum(), [words, patches]))
    torch.testing.assert_close(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1].float(), grads[1][1], atol=0.02, rtol=0.02)


@pytest.mark.parametrize("across", ["sample", "batch"])
@pytest.mark.parametrize("reduction", ["pooled", "sample"])
def test_chance_is_what_equal_tokens_give(across: str, reduction: str) -> None:
    pairs = make_pairs(CLIP_OF, LENGTHS)
    same = pairs.tokens("encoder").detach()[:1, :1].expand(4, 4, -1)
    term = part(across=across, reduction=reduction)(dataclasses.replace(pairs, tokens=lambda level: same))
    if across == "sample":
        assert term.chance == pytest.approx(term.value.item(), abs=1e-12)
        each = [math.log(n) for n in LENGTHS]
        pooled = sum(n * loss for n, loss in zip(LENGTHS, each, strict=True)) / sum(LENGTHS)
        assert term.chance == pytest.approx(pooled if reduction == "pooled" else sum(each) / 4)
    else:
        assert term.chance == pytest.approx(math.log(sum(LENGTHS)))


def test_chance_of_fifty_tokens_is_the_logarithm_of_fifty() -> None:
    term = part()(make_pairs([0, 1], [50, 50], width=16))
    assert term.chance == pytest.approx(3.912, abs=1e-3)


def test_how_many_patches_are_kept_at_the_published_numbers() -> None:
    pairs = make_pairs([0], [8], width=16, patches=2356)
    kept = {
        name: part(**options)(pairs).gauges["kept"]
        for name, options in {
            "sparc": {},
            "as a threshold": {"sigma": 2320 / 2356},
            "k": {"sparsify": "top_k", "k": 36},
            "q": {"sparsify": "quantile", "q": 2320 / 2356},
        }.items()
    }
    assert kept["sparc"] > 2350
    assert 1 <= kept["as a threshold"] <= 3
    assert kept["k"] == 36
    assert kept["q"] == pytest.approx(36, abs=1)


def batch_oracle(pairs: Pairs, look_alikes: str, above: float | None = None) -> Tensor:
    """Across the batch: every token against all others, with roles token by token."""
    words, groups, owner = [], [], []
    for text, clip in enumerate(pairs.clip_of.tolist()):
        for word, real in zip(pairs.tokens("encoder")[text], pairs.token_mask[text], strict=True):
            if real:
                words.append(word)
                groups.append(group_of(word, pairs.patches("encoder")[clip], {}))
                owner.append(text)
    family = [int(pairs.group[pairs.clip_of[text]]) for text in owner]

    def role(j: int, k: int) -> str:
        if j == k:
            return "right"
        near = above is not None and cosine(words[j], words[k]) > above
        kin = owner[j] != owner[k] and family[j] == family[k]
        if look_alikes == "negatives" or not (near or kin):
            return "wrong"
        return "right" if near and look_alikes == "positives" else "out"

    def loss(j: int, logits: list[Tensor]) -> Tensor:
        inside = [k for k in range(len(words)) if role(j, k) != "out"]
        right = [k for k in inside if role(j, k) == "right"]
        below = torch.stack([logits[k] for k in inside]).exp().sum().log()
        return torch.stack([below - logits[k] for k in right]).mean()

    each = []
    for j in range(len(words)):
        there = [cosine(groups[j], t) / 0.07 for t in words]
        back = [cosine(c, words[j]) / 0.07 for c in groups]
        each.append((loss(j, there) + loss(j, back)) / 2)
    return torch.stack(each).mean()


@pytest.mark.parametrize(
    ("look_alikes", "above"),
    [("negatives", None), ("excluded", None), ("excluded", 0.5), ("positives", 0.5), ("positives", None)],
)
def test_across_the_batch_look_alikes_are_not_punished(look_alikes: str, above: float | None) -> None:
    pairs = make_pairs(CLIP_OF, LENGTHS, group=[0, 1, 0])
    options: dict[str, Any] = {} if above is None else {"duplicate_above": above}
    ours = part(across="batch", look_alikes=look_alikes, **options)(pairs).value
    theirs = batch_oracle(pairs, look_alikes, above)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    leaves = [pairs.patches("encoder"), pairs.tokens("encoder")]
    grads = [torch.autograd.grad(value, leaves) for value in (ours, theirs)]
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=0)
    if look_alikes != "negatives":
        assert (ours - batch_oracle(pairs, "negatives")).abs() > 1e-3


def test_a_repeated_word_need_not_be_a_negative() -> None:
    pairs = make_pairs([0], [4])
    read = pairs.tokens("encoder").detach().clone()
    read[0, 3] = read[0, 1]
    twice = dataclasses.replace(pairs, tokens=lambda level: read)
    assert part(look_alikes="excluded", duplicate_above=0.999)(twice).chance == pytest.approx(
        (2 * math.log(4) + 2 * math.log(3)) / 4
    )
