"""Local alignment at its edges: layers, widths, temperature, memory, and what takes no part."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from local_align_tools import CLIP_OF, LENGTHS, WAYS, oracle, part
from pairs_tools import make_pairs
from pydantic import ValidationError
from torch import Tensor

from vidapt.objectives import Pairs
from vidapt.objectives.local_align import Part


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
