"""Ways to draw words: how warm, which may be drawn, and several answers to one question."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_generate import MIXED, SINGLES, WARM, Heard, about, clip, make_model, one, question
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.rows import Rows
from vidapt.models.sampling import COLDEST, Allowed, ByEntropy, Cooling, draw, scaled, temperatures
from vidapt.models.video_lm import VideoLM


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return make_model()


def logits(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, 30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


@given(st.floats(0, 5), st.floats(0, 5), st.floats(0.1, 100), st.integers(0, 500), st.integers(0, 500))
def test_cooling_is_its_formula_and_goes_from_first_to_end(
    first: float, end: float, tokens: float, early: int, late: int
) -> None:
    heat = Cooling(first=first, tokens=tokens)
    assert heat.at(0, end) == pytest.approx(first)
    assert heat.at(early, end) == pytest.approx(end + (first - end) * math.exp(-early / tokens))
    far, near = sorted((abs(heat.at(at, end) - end) for at in (early, late)), reverse=True)
    assert near <= far <= abs(first - end) + 1e-12
    assert heat.at(1_000_000, end) == pytest.approx(end)


def test_entropy_cools_by_its_formula() -> None:
    rows = logits(5)
    found = temperatures(rows, [3] * len(rows), 1.2, ByEntropy(theta=0.7))
    assert isinstance(found, Tensor)
    p = rows.softmax(-1).numpy()
    entropy = -(p * np.log(p)).sum(-1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), 1.2 * 0.8 ** (0.7 / entropy))
    flat = temperatures(torch.zeros(1, 10**4, dtype=torch.float64), [0], 1.2, ByEntropy(theta=0.7))
    assert found.max() < float(flat) < 1.2, "the less sure, the warmer"


def test_a_model_that_is_quite_sure_is_greedy_by_entropy() -> None:
    sure = torch.full((1, 4), -math.inf, dtype=torch.float64)
    sure[0, 2] = 0.0
    found = temperatures(sure, [0], 1.0, ByEntropy(theta=1.0))
    assert isinstance(found, Tensor)
    assert float(found) == COLDEST
    assert int(draw(scaled(sure, found), [torch.Generator().manual_seed(1)])) == 2


def test_where_nothing_moves_the_temperature_stays() -> None:
    rows = logits(3)
    assert temperatures(rows, [9] * len(rows), 0.7, None) == 0.7
    warm = temperatures(rows, [9] * len(rows), 0.7, Cooling(first=0.7))
    assert torch.allclose(torch.as_tensor(warm), torch.tensor(0.7, dtype=torch.float64))
    still = temperatures(rows, [9] * len(rows), 0.7, ByEntropy(theta=0))
    assert isinstance(still, Tensor)
    assert set(still.flatten().tolist()) == {0.7}


SHARES = {"top_p": st.floats(1e-6, 1), "min_p": st.floats(0, 1), "top_h": st.floats(1e-6, 1)}


@given(st.fixed_dictionaries(SHARES), st.integers(0, 50), st.floats(1e-3, 50))
def test_the_likeliest_word_may_always_be_drawn(shares: dict[str, float], seed: int, sharp: float) -> None:
    rows = logits(3, seed) * sharp
    kept = Allowed(**shares)(scaled(rows, 1.0))
    assert (kept.amax(-1) == 0).all()
    assert (kept.argmax(-1) == rows.argmax(-1)).all()


@given(st.floats(0.001, 1), st.integers(0, 50))
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(share: float, seed: int) -> None:
    rows = logits(3, seed)
    p = rows.softmax(-1)
    kept = Allowed(min_p=share)(scaled(rows, 1.0)) > -math.inf
    sure = (p / p.amax(-1, keepdim=True) - share).abs() > 1e-9  # rounding decides at the edge
    assert ((p >= share * p.amax(-1, keepdim=True)) == kept)[sure].all()


def test_what_allows_all_changes_nothing() -> None:
    scores = scaled(logits(4), 0.9)
    assert torch.equal(Allowed()(scores), scores)
    assert torch.equal(Allowed(top_p=0.8, min_p=0.0, top_h=1.0)(scores), Allowed(top_p=0.8)(scores))


def test_heat_that_does_not_move_gives_the_answers_of_plain_sampling(model: VideoLM) -> None:
    group, tokens = SINGLES[0]
    plain = one(model, group, tokens, WARM)
    assert one(model, group, tokens, replace(WARM, heat=Cooling(first=1.0, tokens=3))) == plain
    assert one(model, group, tokens, replace(WARM, heat=ByEntropy(theta=0))) == plain
    assert one(model, group, tokens, replace(WARM, heat=ByEntropy(theta=50.0))) != plain


def test_the_first_tokens_are_warm_and_the_last_greedy(
    model: VideoLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, tokens = SINGLES[0]
    cooled = replace(WARM, temperature=0.0, heat=Cooling(first=50.0, tokens=0.2))
    assert not cooled.greedy
    heard = Heard(model, monkeypatch)
    answer = one(model, group, tokens, cooled, seeds=[3])
    best = [int(row.argmax()) for row in heard.take()]
    assert answer.ids[0] != best[0], "another seed, if this one draws the likeliest"
    assert list(answer.ids[4:]) == best[4 : len(answer.ids)]
    assert replace(cooled, heat=Cooling(first=0.0)).greedy


@pytest.mark.parametrize(
    "way", [{}, {"heat": ByEntropy()}, {"heat": Cooling()}, {"min_p": 0.2}, {"top_h": 0.4}]
)
def test_several_answers_are_those_of_questions_asked_again(model: VideoLM, way: dict[str, Any]) -> None:
    groups, visual = zip(*MIXED, strict=True)
    times = [3, 1, 2, 1, 4, 1]
    seeds = list(range(sum(times)))
    warm = replace(WARM, **way)
    found = generate(model, groups, visual, (), warm, seeds, times)
    together = [answer for answers in found for answer in answers]
    alone, at = [], 0
    for (group, tokens), count in zip(SINGLES, times, strict=True):
        alone += [one(model, group, tokens, warm, seeds=[seed]) for seed in seeds[at : at + count]]
        at += count
    assert together == alone
    assert [len(answers) for answers in found] == [3, 1, 2, 6]
    assert len(set(together[:3])) > 1, "draws that are all the same would prove little"


def test_several_answers_cost_one_reading(model: VideoLM, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    forward = Rows.read

    def listen(self: Rows, model: VideoLM, entering: Any, *rest: Any) -> Tensor:
        read.append(tuple(entering["inputs_embeds"].shape[:2]))
        return forward(self, model, entering, *rest)

    monkeypatch.setattr(Rows, "read", listen)
    generate(model, [about(question(5, 6))], [clip(1)], (), WARM, list(range(7)), [7])
    prefix, asked, *written = read
    assert (prefix[0], asked) == (1, (1, 2))
    assert set(written) == {(7, 1)}


def test_settings_name_what_is_not_as_ever(model: VideoLM) -> None:
    """Jobs of earlier versions go on: what they did not know stands in no key."""
    assert Decoding(temperature=0.5, seed=3).settings == {
        "max_new_tokens": 128,
        "temperature": 0.5,
        "top_p": 1.0,
        "seed": 3,
    }
    assert Decoding(min_p=0.5, top_h=0.3).settings == {"max_new_tokens": 128}
    told = replace(WARM, min_p=0.1, heat=Cooling()).settings
    assert (told["min_p"], told["heat"]) == (0.1, {"first": 1.0, "tokens": 4.0})
    assert "top_h" not in told


@pytest.mark.parametrize(
    "wrong", [{"min_p": -0.1}, {"min_p": 1.1}, {"top_h": 0.0}, {"top_h": 1.1}, {"min_p": math.nan}]
)
def test_senseless_shares_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Decoding(**wrong)


def test_entropy_cannot_warm_what_is_greedy() -> None:
    with pytest.raises(ConfigError, match="temperature: is 0, which entropy cannot make warmer"):
        Decoding(heat=ByEntropy())
