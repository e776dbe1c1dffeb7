"""The local loss equals SPARC's equations, written here token by token in double precision."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs_tools import make_pairs
from pydantic import ValidationError
from torch import Tensor

from vidapt.objectives import Pairs, _grouping
from vidapt.objectives._grouping import group
from vidapt.objectives.local_align import Part

CLIP_OF, LENGTHS = [1, 0, 1, 2], [4, 2, 1, 3]
WAYS: list[dict[str, Any]] = [
    {},
    {"sigma": 0.6},
    {"sparsify": "top_k", "k": 2},
    {"sparsify": "quantile", "q": 0.5},
]


def part(**options: Any) -> Part:
    term = Part(Part.Config(**options)).double()
    term.log_scale.data.fill_(-math.log(term.cfg.temperature))
    return term


def kept_patches(heights: list[float], options: dict[str, Any]) -> list[int]:
    everyone = range(len(heights))
    if options.get("sparsify") == "top_k":
        return sorted(everyone, key=lambda p: -heights[p])[: options["k"]]
    if options.get("sparsify") == "quantile":
        ranks, at = sorted(heights), options["q"] * (len(heights) - 1)
        low = math.floor(at)
        edge = ranks[low] + (at - low) * (ranks[min(low + 1, len(ranks) - 1)] - ranks[low])
        return [p for p in everyone if heights[p] >= edge]
    sigma = options.get("sigma", 1 / len(heights))
    return [p for p in everyone if heights[p] >= sigma]


def group_of(token: Tensor, patches: Tensor, options: dict[str, Any]) -> Tensor:
    """Equations 2 to 4: similarity, min-max, sparsify, weigh."""
    similar = torch.stack([(token * patch).sum() for patch in patches])
    heights = (similar - similar.min()) / (similar.max() - similar.min())
    kept = kept_patches(heights.tolist(), options)
    total = torch.stack([heights[p] for p in kept]).sum()
    return torch.stack([heights[p] / total * patches[p] for p in kept]).sum(0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.norm() * b.norm())


def oracle(
    pairs: Pairs, options: dict[str, Any], temperature: Tensor, *, pooled: bool = True, mask: bool = True
) -> Tensor:
    patches, tokens = pairs.patches("encoder"), pairs.tokens("encoder")
    texts = []
    for text, clip in enumerate(pairs.clip_of.tolist()):
        words = [w for w, real in zip(tokens[text], pairs.token_mask[text], strict=True) if real or not mask]
        groups = [group_of(word, patches[clip], options) for word in words]
        logits = [[cosine(c, t) / temperature for t in words] for c in groups]
        there = [row[j] - torch.stack(row).exp().sum().log() for j, row in enumerate(logits)]
        back = [
            logits[j][j] - torch.stack([row[j] for row in logits]).exp().sum().log()
            for j in range(len(words))
        ]
        if words:
            texts.append(-(torch.stack(there) + torch.stack(back)) / 2)
    return torch.cat(texts).mean() if pooled else torch.stack([text.mean() for text in texts]).mean()


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


def gradients(pairs: Pairs, term: Part) -> tuple[float, list[Tensor]]:
    value = term(pairs).value
    leaves = [pairs.patches("encoder"), pairs.tokens("encoder"), term.log_scale]
    return value.item(), list(torch.autograd.grad(value, leaves))


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("across", ["sample", "batch"])
@pytest.mark.parametrize("reduction", ["pooled", "sample"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_clip_of_equal_patches_teaches_nothing(
    options: dict[str, Any], across: str, reduction: str, dtype: torch.dtype
) -> None:
    pairs = make_pairs([0, 1], [3, 4], patches=37)
    seen = pairs.patches("encoder").detach().clone().to(dtype)
    seen[1] = seen[1, :1]
    flat = seen.requires_grad_()
    read = pairs.tokens("encoder").detach().to(dtype).requires_grad_()
    one = dataclasses.replace(pairs, patches=lambda level: flat, tokens=lambda level: read)
    term = part(**options, across=across, reduction=reduction).to(dtype)
    value, grads = gradients(one, term)
    assert math.isfinite(value)
    assert all(grad.isfinite().all() for grad in grads)
    assert not grads[0][1].any()
    assert not grads[1][1].any()
    assert grads[0][0].any()
    assert term(one).gauges["flat"] == 4
    assert term(one).gauges["empty"] == 1
    alone = dataclasses.replace(
        one,
        clip_of=one.clip_of[:1],
        token_mask=one.token_mask[:1],
        texts=one.texts[:1],
        tokens=lambda level: read[:1],
    )
    assert term(alone).value.item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("reduction", ["pooled", "sample"])
def test_empty_and_single_texts_are_counted_and_teach_nothing(reduction: str) -> None:
    pairs = make_pairs([0, 1, 2], [0, 1, 4])
    value, grads = gradients(pairs, part(reduction=reduction))
    gauges = part(reduction=reduction)(pairs).gauges
    assert (gauges["empty"], gauges["single"]) == (1, 1)
    assert math.isfinite(value)
    for grad in grads[:2]:
        assert grad.isfinite().all()
        assert not grad[:2].abs().gt(1e-12).any()
        assert grad[2].any()


def test_a_step_in_which_nothing_takes_part_is_zero() -> None:
    pairs = make_pairs([0, 1], [3, 3])
    nothing = dataclasses.replace(pairs, token_mask=torch.zeros(2, 3, dtype=torch.bool))
    for across in ("sample", "batch"):
        term = part(across=across)
        value, grads = gradients(nothing, term)
        assert value == 0
        assert not any(grad.any() for grad in grads)
        assert term(nothing).chance == 0
        assert term(nothing).gauges["empty"] == 2


@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    seed=st.integers(0, 99),
    across=st.sampled_from(["sample", "batch"]),
    reduction=st.sampled_from(["pooled", "sample"]),
    options=st.sampled_from(WAYS),
)
@settings(max_examples=40, deadline=None)
def test_no_input_gives_a_number_that_is_none(
    lengths: list[int], seed: int, across: str, reduction: str, options: dict[str, Any]
) -> None:
    clip_of = [seed % (at + 1) for at in range(len(lengths))]
    if not any(lengths):
        lengths = [*lengths[:-1], 1]
    pairs = make_pairs(clip_of, lengths, clips=len(lengths), seed=seed, patches=1 + seed % 3)
    term = part(across=across, reduction=reduction, **options)
    value, grads = gradients(pairs, term)
    assert math.isfinite(value)
    assert value >= 0
    assert all(grad.isfinite().all() for grad in grads)


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


def model(patches: int, tokens: int, shared: int, depths: tuple[int, int]) -> Any:
    def tower(width: int, depth: int) -> Any:
        return SimpleNamespace(width=width, depth=depth)

    return SimpleNamespace(
        tower=tower(patches, depths[0]),
        text=tower(tokens, depths[1]),
        blueprint=SimpleNamespace(width=shared),
    )


def test_patches_of_another_width_are_mapped() -> None:
    pairs = make_pairs(CLIP_OF, LENGTHS, width=6)
    seen = torch.randn(3, 7, 9, dtype=torch.float64, requires_grad=True)
    wide = dataclasses.replace(pairs, patches=lambda level: seen)
    with pytest.raises(ValueError, match="wide"):
        part()(wide)
    term = part()
    term.prepare(model(9, 6, 5, (2, 2)))
    term.double()
    (weight,) = [p for name, p in term.named_parameters() if name.startswith("maps")]
    mapped = dataclasses.replace(pairs, patches=lambda level: seen @ weight.T)
    temperature = torch.tensor(0.07, dtype=torch.float64)
    ours, theirs = term(wide).value, oracle(mapped, {}, temperature)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    leaves = [seen, pairs.tokens("encoder"), weight]
    grads = [torch.autograd.grad(value, leaves) for value in (ours, theirs)]
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=0)


def test_levels_of_equal_width_need_no_map() -> None:
    for options in ({"patches": "projected", "tokens": "projected"}, {"tokens": "projected"}):
        term = part(**options)
        term.prepare(model(9, 6, 9 if len(options) == 1 else 5, (2, 2)))
        assert not [name for name, _ in term.named_parameters() if name.startswith("maps")]


def test_every_layer_is_the_weighted_mean_of_its_layers() -> None:
    whole = make_pairs(CLIP_OF, LENGTHS)
    torch.manual_seed(5)
    seen = {f"layer:{i}": torch.randn(3, 7, 6, dtype=torch.float64) for i in (1, 2, 3)}
    read = {f"layer:{i}": torch.randn(4, 4, 6, dtype=torch.float64) for i in (1, 2)}
    pairs = dataclasses.replace(whole, patches=seen.__getitem__, tokens=read.__getitem__)
    term = part(every_layer=True)
    term.prepare(model(6, 6, 6, (3, 2)))
    assert term.levels == [("layer:1", "layer:1"), ("layer:2", "layer:2"), ("layer:3", "layer:2")]
    each = [part(patches=p, tokens=t)(pairs).value.item() for p, t in term.levels]
    found = term(pairs)
    weights = [0.1, 0.55, 1.0]
    assert found.value.item() == pytest.approx(sum(w * v for w, v in zip(weights, each, strict=True)) / 1.65)
    assert found.gauges["layer_3"] == pytest.approx(each[2])
    assert found.chance == pytest.approx(part()(whole).chance)


def test_the_temperature_stays_within_bounds() -> None:
    term = part()
    term.log_scale.data.fill_(20.0)
    term(make_pairs([0, 1]))
    assert term.log_scale.item() == pytest.approx(math.log(100))


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_nothing_as_large_as_the_similarities_is_kept_for_the_gradient(options: dict[str, Any]) -> None:
    pairs = make_pairs([0, 1, 2], [5, 5, 5], patches=400)
    inputs = {pairs.patches("").data_ptr(), pairs.tokens("").data_ptr()}
    sizes = []

    def pack(kept: Tensor) -> Tensor:
        if kept.data_ptr() not in inputs:
            sizes.append(kept.numel())
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        part(**options)(pairs)
    assert sizes
    assert max(sizes) < 400


def test_autocast_rounds_nothing() -> None:
    pairs = make_pairs(CLIP_OF, LENGTHS)
    seen, read = pairs.patches("").detach().float(), pairs.tokens("").detach().float()
    singles = dataclasses.replace(pairs, patches=lambda level: seen, tokens=lambda level: read)
    term = Part(Part.Config())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = term(singles).value
    torch.testing.assert_close(value, term(singles).value)


@pytest.mark.parametrize(
    "options",
    [
        {"k": 3},
        {"sparsify": "top_k"},
        {"sparsify": "quantile", "sigma": 0.5},
        {"duplicate_above": 0.9},
        {"every_layer": True, "patches": "encoder"},
        {"patches": "layer:0"},
        {"tokens": "last"},
        {"layer_weights": (0.0, 0.0)},
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        part(**options)
