"""Language models in eight bits on a processor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generate import GREEDY, MIXED, Heard, make_model
from torch import nn

from vidapt.models.fingerprint import WeightsAnywhere, weights_fingerprint
from vidapt.models.generate import generate
from vidapt.models.int8_linear import Int8Linear, quantize_for_processor


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 5),
    inner=st.integers(2, 70),
    outer=st.integers(1, 40),
    seed=st.integers(0, 99),
    bias=st.booleans(),
)
def test_products_are_right_to_their_rounding(
    rows: int, inner: int, outer: int, seed: int, bias: bool
) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(inner, outer, bias=bias)
    x = torch.randn(2, rows, inner)
    with torch.no_grad():
        expected, found = layer(x), Int8Linear(layer)(x)
    assert found.shape == expected.shape
    # Half a step of each weight and of each input, over all of the sum.
    steps, step = layer.weight.abs().amax(1) / 254, x.abs().amax(-1, keepdim=True) / 254
    bound = x.abs().sum(-1, keepdim=True) * steps + step * (layer.weight.abs() + steps[:, None]).sum(1) + 1e-5
    assert ((found - expected).abs() <= bound).all()


def test_zeros_stay_zeros_and_formats_stay_formats() -> None:
    layer = nn.Linear(8, 3, bias=False)
    nn.init.zeros_(layer.weight)
    small = Int8Linear(layer)
    assert not small(torch.randn(4, 8)).any()
    assert small(torch.randn(4, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_model_writes_close_to_what_it_wrote_and_takes_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    before, weights = weights_fingerprint(WeightsAnywhere(model)), model.language.model.layers[0].mlp.up_proj
    heard = Heard(model, monkeypatch)
    groups, visual = zip(*MIXED, strict=True)
    generate(model, groups, visual, (), GREEDY)
    expected = heard.take()[0]
    quantize_for_processor(model)
    generate(model, groups, visual, (), GREEDY)
    found = heard.take()[0]
    assert 0 < (found - expected).abs().max() < 0.2 * expected.std() * 3
    small = model.language.model.layers[0].mlp.up_proj
    assert isinstance(small, Int8Linear)
    assert small.weight.nbytes * 4 == weights.weight.nbytes
    assert isinstance(model.language.lm_head, nn.Linear)
    assert weights_fingerprint(WeightsAnywhere(model)) != before
