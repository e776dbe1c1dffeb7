"""The distillation term against its equations, one number at a time, and what it says of learning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis
import pytest
import torch
from distill_tools import GRID, SHAPES, WIDTH, Student, oracle, pairs, part, weigh
from hypothesis import strategies as st
from pairs_tools import make_pairs
from pydantic import ValidationError
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.nouns import Features, Grid
from vidapt.objectives import align
from vidapt.objectives._translate import Translator, resample, shares
from vidapt.objectives.distill import Part


@pytest.mark.parametrize("cosine_of", ["frame", "cell"])
@pytest.mark.parametrize("share", [0.0, 0.9, 1.0])
@pytest.mark.parametrize(("depth", "kernel"), [(0, 3), (1, 1), (2, 3)])
def test_the_term_is_its_equation(cosine_of: str, share: float, depth: int, kernel: int) -> None:
    term, given = part(cosine_of=cosine_of, cosine=share, depth=depth, kernel=kernel), pairs()
    told = term(given)
    values, cosines, total = oracle(term, given)
    assert abs(told.value.item() - total) < 1e-9
    for name in term.teachers:
        assert abs(told.gauges[name] - values[name]) < 1e-9
        assert abs(told.gauges[f"{name}/cosine"] - cosines[name]) < 1e-9


def test_gradients_are_those_of_finite_differences() -> None:
    term, given = part(), pairs(clips=2)
    patches = given.patches("encoder")
    weights = {name: weight for name, weight in term.named_parameters() if "convolutions.0" in name}

    def value(seen: Tensor, *changed: Tensor) -> Tensor:
        state = dict(zip(weights, changed, strict=True))
        return torch.func.functional_call(term, state, replace(given, patches=lambda level: seen)).value

    assert torch.autograd.gradcheck(value, (patches, *weights.values()))


def test_teachers_and_what_has_no_place_get_no_gradient() -> None:
    term, given = part(), pairs(proxies=2)
    term(given).value.backward()
    gradient = given.patches("encoder").grad
    assert gradient is not None
    assert not gradient[:, :2].any()
    assert gradient[:, 2:].any()
    assert given.videos.grad is None
    assert all(given.taught(name).x.grad is None for name in SHAPES)
    assert {name for name, _ in term.named_buffers()} == {
        f"pupils.of_{name}.{kind}" for name in SHAPES for kind in ("mean", "scale")
    }


MUTATIONS: dict[str, dict[str, Any]] = {
    "the shares are swapped": {"cosine": 0.1},
    "a cosine for each cell": {"cosine_of": "cell"},
    "teachers weigh the same": {"teachers": {"near": "a", "far": "b"}},
}


@pytest.mark.parametrize("change", MUTATIONS.values(), ids=MUTATIONS)
def test_another_loss_is_another_number(change: dict[str, Any]) -> None:
    assert abs(oracle(part(**change), pairs())[2] - part()(pairs()).value.item()) > 1e-3


def test_other_features_are_another_number() -> None:
    term, given = part(), pairs()
    right = term(given).value.item()

    def changed(change: Any) -> float:
        other = replace(given, taught=lambda name: Features(change(given.taught(name).x)))
        return abs(term(other).value.item() - right)

    assert changed(lambda x: x.roll(1, 0)) > 1e-3  # clips swapped
    assert changed(lambda x: x.flip(1)) > 1e-3  # frames in reverse
    assert changed(lambda x: x.flip(3)) > 1e-3  # mirrored
    assert changed(lambda x: x.transpose(2, 3).reshape(x.shape)) > 1e-3  # rows for columns
    assert changed(lambda x: 2 * x) > 1e-3  # not normalised
    proxies = torch.cat([given.patches("").roll(2, 1)], dim=1)
    assert abs(term(replace(given, patches=lambda level: proxies)).value.item() - right) > 1e-3


def test_chance_is_what_the_mean_costs() -> None:
    term, given = part(), pairs()
    for name in term.teachers:
        pupil: Any = term.pupils[f"of_{name}"]
        pupil.translator.out.weight.data.zero_()
        pupil.translator.out.bias.data.zero_()
    told = term(given)
    assert told.value.item() == pytest.approx(told.chance, abs=1e-12)
    assert told.gauges["near"] == pytest.approx(told.gauges["near/chance"], abs=1e-12)
    means = {name: term.pupils[f"of_{name}"].mean for name in SHAPES}
    still = replace(given, taught=lambda name: Features(means[name].expand(3, *SHAPES[name])))
    assert term(still).chance == pytest.approx(0.9, abs=1e-12)  # nothing differs from the mean


def test_a_student_that_knows_no_clip_has_the_cosine_of_another_one() -> None:
    term, given = part(), pairs()
    same = given.patches("encoder").detach()[:1].expand(3, -1, -1)
    told = term(replace(given, patches=lambda level: same))
    assert told.gauges["near/cosine"] == pytest.approx(told.gauges["near/cosine_other"], abs=1e-12)
    assert "near/cosine_other" not in term(pairs(clips=1)).gauges


def test_the_other_clip_is_the_next_one() -> None:
    term, given = part(), pairs(clips=2)
    swapped = replace(given, taught=lambda name: Features(given.taught(name).x.flip(0)))
    for name in SHAPES:
        other = term(given).gauges[f"{name}/cosine_other"]
        assert other == pytest.approx(term(swapped).gauges[f"{name}/cosine"], abs=1e-12)
        assert other != pytest.approx(term(given).gauges[f"{name}/cosine"], abs=1e-3)


def test_a_channel_that_hardly_changes_is_not_blown_up() -> None:
    term = part()
    std = torch.tensor([0.0, 1e-6, 2e-6, 0.5], dtype=torch.float64)
    term.introduce("near", torch.zeros(4), std)
    pupil: Any = term.pupils["of_near"]
    assert pupil.scale.tolist() == [1.0, 1.0, 2e-6, 0.5]
    assert pupil.normalised(torch.ones(4, dtype=torch.float64)).tolist() == pytest.approx([1, 1, 5e5, 2])


def test_chance_is_the_weighted_mean_of_the_teachers() -> None:
    told = part()(pairs())
    each = [told.gauges[f"{name}/chance"] for name in ("near", "far")]
    assert told.chance == pytest.approx((2 * each[0] + each[1]) / 3)
    assert abs(each[0] - each[1]) > 1e-3


def test_it_can_be_learned() -> None:
    term, given = part(depth=0), pairs()
    patches = given.patches("encoder").detach().requires_grad_()
    learned = replace(given, patches=lambda level: patches)
    start = term(learned)
    optimizer = torch.optim.Adam([patches, *term.parameters()], lr=0.03)
    for _ in range(200):
        optimizer.zero_grad()
        term(learned).value.backward()
        optimizer.step()
    end = term(learned)
    assert end.value.item() < 0.3 * start.value.item()
    assert end.gauges["near/cosine"] > 0.95 > 0.5 > end.gauges["near/cosine_other"]


@hypothesis.given(st.integers(1, 40), st.integers(1, 40))
def test_shares_are_what_cells_cover_or_lie_between(given: int, wanted: int) -> None:
    found = shares(given, wanted)
    for place in range(wanted):
        row = {i: share for i, share in enumerate(found[place].tolist()) if share}
        expected = weigh(given, wanted, place)
        assert [row.get(i, 0.0) for i in range(given)] == pytest.approx(
            [expected.get(i, 0.0) for i in range(given)], abs=1e-12
        )
    assert torch.allclose(found.sum(1), torch.ones(wanted, dtype=torch.float64))
    if given == wanted:
        assert torch.equal(found, torch.eye(given, dtype=torch.float64))


def test_grids_are_fitted_as_torch_interpolates() -> None:
    x = torch.randn(2, 2, 3, 4, 5)
    more = resample(x, Grid(5, 6, 7)).movedim(-1, 1)
    wanted = nn.functional.interpolate(x.movedim(-1, 1), (5, 6, 7), mode="trilinear", align_corners=False)
    assert torch.allclose(more, wanted, atol=1e-6)
    half = nn.functional.avg_pool3d(x.movedim(-1, 1), (2, 1, 2))
    assert torch.allclose(resample(x, Grid(1, 3, 2)).movedim(-1, 1), half, atol=1e-6)
    assert resample(x, Grid(2, 3, 4)) is x


def test_half_precision_is_for_the_networks_alone() -> None:
    term, given = part().float(), pairs()
    x = given.patches("").detach().float()
    seen = {name: Features(given.taught(name).x.detach().float()) for name in SHAPES}
    low = replace(given, patches=lambda level: x, taught=seen.__getitem__)
    with torch.autocast("cpu", torch.bfloat16):
        told = term(low)
    assert told.value.dtype == torch.float32
    assert told.value.item() == pytest.approx(term(low).value.item(), abs=0.02)


def test_the_networks_width_is_the_students_if_not_given() -> None:
    term = Part(Part.Config.model_validate({"teachers": {"a": "x"}, "patches": "projected"}))
    term.prepare(Student())
    term.introduce("a", torch.zeros(4), torch.ones(4))
    translator: Any = term.pupils["of_a"]
    assert isinstance(translator.translator, Translator)
    assert [tuple(c.weight.shape[:2]) for c in translator.translator.convolutions] == [(3, 3), (3, 3)]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"teachers": {}}, "at least 1"),
        ({"teachers": {"a.b": "x"}}, "letters, digits"),
        ({"teachers": {"chance": "x"}}, "letters, digits"),
        ({"teachers": {"a": {}}}, "path"),
        ({"teachers": {"a": {"path": "x", "weight": 0}}}, "greater than 0"),
        ({"teachers": {"a": {"path": "x", "wight": 1}}}, "wight"),
        ({"teachers": {"a": "x"}, "cosine": 1.5}, "less than or equal to 1"),
        ({"teachers": {"a": "x"}, "kernel": 2}, "1, 3 or 5"),
        ({"teachers": ["x"]}, "dictionary"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], found: str) -> None:
    with pytest.raises(ValidationError, match=found):
        Part.Config.model_validate(given)


def test_who_was_not_introduced_teaches_nothing() -> None:
    term = Part(Part.Config.model_validate({"teachers": {"a": "x"}}))
    with pytest.raises(ConfigError, match="was not introduced"):
        term(pairs())
    with pytest.raises(ConfigError, match="shows no patches"):
        term.prepare(Student(Grid(1, 1, 1)))
    with pytest.raises(ConfigError, match="nobody teaches"):
        part()(replace(make_pairs([0, 1], width=WIDTH, patches=GRID.cells), grid=GRID))
    with pytest.raises(ValueError, match="grid is not known"):
        part()(make_pairs([0, 1], width=WIDTH, patches=GRID.cells))


def test_one_name_is_one_teacher_in_all_terms() -> None:
    def objective(*paths: str) -> align.Part:
        terms = [
            {"kind": "distill", "name": f"{i}", "teachers": {"a": {"path": path, "weight": i + 1.0}}}
            for i, path in enumerate(paths)
        ]
        return align.Part(align.Part.Config(terms=tuple(terms)))

    assert objective("x", "x").teachers["a"].path == "x"
    assert not objective("x").tells_apart
    assert align.tiny().tells_apart
    assert align.tiny().teachers == {}
    with pytest.raises(ConfigError, match="two teachers are called 'a'"):
        objective("x", "y")
