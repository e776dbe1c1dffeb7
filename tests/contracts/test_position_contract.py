"""What every numbering of positions promises: one position per token, and calls can be chained."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.nouns import Grid
from vidapt.parts import kinds

KINDS = kinds("positions")
GRIDS = st.builds(Grid, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
SPANS = st.lists(st.one_of(st.integers(0, 9), st.tuples(GRIDS, st.integers(0, 3))), max_size=5)


def tiny(kind: str) -> Any:
    return importlib.import_module(f"vidapt.positions.{kind}").tiny()


def length(span: Any) -> int:
    return span if isinstance(span, int) else span[0].cells + span[1]


@pytest.mark.parametrize("kind", KINDS)
@given(spans=SPANS)
@settings(max_examples=40, deadline=None)
def test_every_token_gets_one_position(kind: str, spans: list[Any]) -> None:
    ids, after = tiny(kind).ids(spans)
    assert ids.ndim == 2
    assert ids.shape[1] == sum(length(span) for span in spans)
    if ids.numel():
        assert ids.min() >= 0
        assert ids.max() < after


@pytest.mark.parametrize("kind", KINDS)
@given(first=SPANS, second=SPANS)
@settings(max_examples=40, deadline=None)
def test_two_calls_chained_equal_one(kind: str, first: list[Any], second: list[Any]) -> None:
    part = tiny(kind)
    whole, end = part.ids([*first, *second])
    head, middle = part.ids(first)
    tail, end_of_tail = part.ids(second, start=middle)
    assert end_of_tail == pytest.approx(end)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_words_advance_by_equal_steps(kind: str) -> None:
    ids, _ = tiny(kind).ids([6])
    steps = ids.double().diff(dim=1)
    assert (steps > 0).all()
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))
