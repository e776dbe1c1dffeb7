"""Local alignment where numbers meet their bounds, and what it tells of itself."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from local_align_tools import CLIP_OF, LENGTHS, cosine, group_of, part
from pairs_tools import make_pairs
from pydantic import ValidationError
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.objectives._grouping import group
from vidapt.objectives.local_align import Part, _cosines


def keep(heights: list[float], **options: Any) -> list[bool]:
    found: list[bool] = part(**options)._keep(torch.tensor([heights], dtype=torch.float64))[0].tolist()
    return found


def test_a_similarity_at_its_bound_is_kept() -> None:
    heights = [0.0, 0.25, 0.5, 1.0]
    assert keep(heights) == [False, True, True, True]  # at least 1/P
    assert keep(heights, sigma=0.5) == [False, False, True, True]
    assert keep(heights, sigma=1) == [False, False, False, True]
    assert keep(heights, sigma=0) == [True] * 4
    assert keep([0.0, 0.4, 1.0], sparsify="quantile", q=0.5) == [False, True, True]
    assert keep(heights, sparsify="quantile", q=0) == [True] * 4
    assert keep(heights, sparsify="top_k", k=1) == [False, False, False, True]
    assert keep(heights, sparsify="top_k", k=9) == [True] * 4


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)])
def test_one_of_the_layer_weights_may_be_zero(weights: tuple[float, float]) -> None:
    assert part(every_layer=True, layer_weights=weights).cfg.layer_weights == weights


@pytest.mark.parametrize(
    "options",
    [
        {"layer_weights": (-0.1, 1.0)},
        {"sparsify": "quantile"},
        {"sparsify": "quantile", "q": 0.5, "k": 2},
        {"sparsify": "top_k", "k": 2, "q": 0.5},
        {"q": 0.5},
        {"every_layer": True, "tokens": "encoder"},
    ],
    ids=str,
)
def test_what_goes_with_another_way_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Value error"):
        part(**options)


def test_the_temperature_begins_as_given_and_never_passes_one() -> None:
    term = Part(Part.Config(temperature=0.2))
    assert term.log_scale.item() == pytest.approx(math.log(5))
    assert Part(Part.Config()).log_scale.item() == pytest.approx(math.log(1 / 0.07))
    term.double().log_scale.data.fill_(-3.0)
    term(make_pairs([0, 1]))
    assert term.log_scale.item() == 0


def model(depths: tuple[int, int], patches: int = 6, tokens: int = 6, shared: int = 6) -> Any:
    tower, text = ({"width": w, "depth": d} for w, d in zip((patches, tokens), depths, strict=True))
    blueprint = SimpleNamespace(width=shared)
    return SimpleNamespace(tower=SimpleNamespace(**tower), text=SimpleNamespace(**text), blueprint=blueprint)


@pytest.mark.parametrize(
    ("depths", "found"),
    [
        ((1, 1), [(1, 1)]),
        ((2, 2), [(1, 1), (2, 2)]),
        ((1, 3), [(1, 1), (1, 2), (1, 3)]),
        ((4, 2), [(1, 1), (2, 1), (3, 2), (4, 2)]),
        ((3, 5), [(1, 1), (2, 2), (2, 3), (3, 4), (3, 5)]),
    ],
)
def test_layers_meet_at_even_distances_and_the_last_ones_each_other(
    depths: tuple[int, int], found: list[tuple[int, int]]
) -> None:
    term = part(every_layer=True)
    term.prepare(model(depths))
    assert term.levels == [(f"layer:{p}", f"layer:{t}") for p, t in found]
    assert len(term.maps) == len(found)


def test_with_every_layer_the_numbers_are_those_of_the_last() -> None:
    whole = make_pairs(CLIP_OF, LENGTHS)
    layers = {f"layer:{i}": torch.randn(3, 7, 6, dtype=torch.float64) for i in (1, 2, 3)}
    pairs = dataclasses.replace(whole, patches=layers.__getitem__)
    # Of equal patches a token keeps none, so that layers differ in what they keep.
    layers["layer:1"][0] = layers["layer:1"][0, 0]
    layers["layer:2"][1] = layers["layer:2"][1, 0]
    term = part(every_layer=True)
    term.prepare(model((3, 1)))
    found = term(pairs).gauges
    for layer in (1, 2, 3):
        one = part(patches=f"layer:{layer}", tokens="layer:1")(pairs)
        assert found[f"layer_{layer}"] == pytest.approx(one.value.item())
        assert (found["flat"] == one.gauges["flat"]) is (layer == 3)
    assert {name for name in found if name.startswith("layer_")} == {"layer_1", "layer_2", "layer_3"}


def test_a_tower_without_layers_is_refused() -> None:
    for tower in (SimpleNamespace(width=6), SimpleNamespace(width=6, depth=0)):
        bare = SimpleNamespace(tower=tower, text=SimpleNamespace(depth=2, width=6))
        with pytest.raises(ConfigError, match="shows no layers"):
            part(every_layer=True).prepare(bare)


@pytest.mark.parametrize(
    ("levels", "shape"),
    [
        (("encoder", "encoder"), (4, 9)),
        (("projected", "encoder"), (4, 5)),
        (("encoder", "projected"), (5, 9)),
        (("projected", "projected"), None),
    ],
)
def test_maps_keep_lengths_and_fit_the_widths(levels: tuple[str, str], shape: tuple[int, int] | None) -> None:
    term = Part(Part.Config(patches=levels[0], tokens=levels[1]))
    term.prepare(model((2, 2), 9, 4, 5))
    (mapped,) = term.maps
    if shape is None:
        assert isinstance(mapped, nn.Identity)
        return
    assert isinstance(mapped, nn.Linear)
    assert mapped.weight.shape == shape
    assert mapped.bias is None
    least = min(shape)
    gram = mapped.weight @ mapped.weight.T if shape[0] == least else mapped.weight.T @ mapped.weight
    torch.testing.assert_close(gram, torch.eye(least), atol=1e-5, rtol=0)


def best(scores: list[Tensor]) -> int:
    return max(range(len(scores)), key=lambda at: scores[at].item())


def test_what_is_told_are_shares_and_numbers_of_tokens() -> None:
    pairs = make_pairs(CLIP_OF, [4, 2, 0, 3])
    hits, kept, count = 0.0, 0.0, 0
    for text, clip in enumerate(CLIP_OF):
        words = list(pairs.tokens("encoder")[text][pairs.token_mask[text]])
        groups = [group_of(word, pairs.patches("encoder")[clip], {}) for word in words]
        for at, (word, grouped) in enumerate(zip(words, groups, strict=True)):
            hits += (best([cosine(grouped, w) for w in words]) == at) / 2
            hits += (best([cosine(g, word) for g in groups]) == at) / 2
            similar = pairs.patches("encoder")[clip] @ word
            kept += int(((similar - similar.min()) / (similar.max() - similar.min()) >= 1 / 7).sum())
            count += 1
    gauges = part()(pairs).gauges
    assert gauges == pytest.approx(
        {"found": hits / count, "kept": kept / count, "patches": 7, "flat": 0, "empty": 1, "single": 0}
    )
    nothing = dataclasses.replace(pairs, token_mask=torch.zeros(4, 4, dtype=torch.bool))
    assert part()(nothing).gauges["kept"] == 0


@pytest.mark.parametrize("across", ["sample", "batch"])
def test_only_a_cosine_above_the_bound_makes_a_look_alike(across: str) -> None:
    pairs = make_pairs([0], [4], width=6)
    axes = torch.eye(6, dtype=torch.float64)[[0, 0, 1, 2]][None]
    same = dataclasses.replace(pairs, tokens=lambda level: axes)
    options = {"across": across, "look_alikes": "excluded"}
    for above, logarithms in ((1.0, [4, 4, 4, 4]), (0.999, [3, 3, 4, 4]), (-0.001, [1, 1, 1, 1])):
        chance = part(duplicate_above=above, **options)(same).chance
        assert chance == pytest.approx(sum(math.log(n) for n in logarithms) / 4, abs=1e-12)


def test_cosines_know_no_lengths() -> None:
    a, b = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    wanted = nn.functional.cosine_similarity(a[:, :, None], b[:, None], dim=-1)
    torch.testing.assert_close(_cosines(1e-6 * a, 1e6 * b), wanted)
    torch.testing.assert_close(_cosines(1e6 * a, 1e-6 * b), wanted)
    assert not _cosines(0 * a, b).any()


def test_tokens_and_patches_of_zeros_are_flat() -> None:
    clip, every = torch.tensor([0, 0, 1]), part()._keep
    words, patches = torch.randn(3, 4).double(), torch.randn(2, 5, 4).double()
    words[1], patches[1] = 0, 0
    grouped, kept, flat = group(words.requires_grad_(), clip, patches, every)
    assert flat.tolist() == [False, True, True]
    assert (kept[0] > 0, kept[1:].tolist()) == (True, [0, 0])
    assert not grouped[1:].any()
    (grad,) = torch.autograd.grad(grouped.sin().sum(), words)
    assert grad.isfinite().all()
    assert not kept.requires_grad
    assert not flat.requires_grad


def test_a_token_is_measured_by_itself() -> None:
    words, patches = torch.randn(2, 4).double(), torch.randn(1, 5, 4).double()
    words[0] *= 1e20
    grouped, _, flat = group(words, torch.tensor([0, 0]), patches, part()._keep)
    assert flat.tolist() == [False, False]
    alone = group(words[1:], torch.tensor([0]), patches, part()._keep)[0]
    torch.testing.assert_close(grouped[1:], alone)


def test_all_is_made_where_the_vectors_lie() -> None:
    pairs = make_pairs(CLIP_OF, LENGTHS)
    for across in ("sample", "batch"):
        term = part(across=across, reduction="sample")
        expected = term(pairs).value
        with torch.device("meta"):  # what is made without a place would be there
            found = term._at(pairs, ("encoder", "encoder"), nn.Identity())
        torch.testing.assert_close(found.value, expected)
