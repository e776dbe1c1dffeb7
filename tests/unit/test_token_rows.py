"""Sequences are taken out of a batch without gaps, and every token comes back to its place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidapt.models.token_rows import as_they_are, by_owner, without_gaps

BATCHES = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(-1, 3), min_size=width, max_size=width), min_size=1, max_size=4
    )
)


def numbered(like: Tensor) -> Tensor:
    return torch.arange(1, like.numel() + 1).view(*like.shape, 1)


@given(BATCHES)
def test_each_question_becomes_a_row_of_its_tokens(lists: list[list[int]]) -> None:
    owner = torch.tensor(lists)
    rows, x = by_owner(owner), numbered(owner)
    expected = [
        (row, x[row, :, 0][owner[row] == who].tolist())
        for row in range(len(owner))
        for who in sorted({one for one in lists[row] if one >= 0})
    ]
    taken = rows.take(x)[:, :, 0]
    found = [
        (int(origin), line[real].tolist())
        for origin, line, real in zip(rows.origin, taken, rows.real, strict=True)
    ]
    assert found == expected
    assert rows.lengths.tolist() == [len(tokens) for _, tokens in expected]
    assert not taken[~rows.real].any()
    if expected:
        assert torch.equal(rows.put(rows.take(x))[owner >= 0], x[owner >= 0])


@given(BATCHES)
def test_gaps_are_closed_and_opened_again(lists: list[list[int]]) -> None:
    real = torch.tensor(lists) >= 0
    rows, x = without_gaps(real), numbered(real)
    taken = rows.take(x)[:, :, 0]
    for index, line in enumerate(real):
        tokens = x[index, :, 0][line].tolist()
        assert taken[index].tolist() == tokens + [0] * (real.shape[1] - len(tokens))
    assert torch.equal(rows.put(rows.take(x))[real], x[real])


def test_rows_that_are_in_order_stay_where_they_are() -> None:
    real = torch.tensor([[True, True, False], [True, False, False]])
    rows, x = as_they_are(real), numbered(real)
    assert rows.take(x)[:, :, 0].tolist() == [[1, 2, 0], [4, 0, 0]]
    assert rows.put(x) is x


@pytest.mark.parametrize("shape", [(2, 0), (0, 3)])
def test_a_batch_without_columns_or_rows_has_no_questions(shape: tuple[int, int]) -> None:
    assert by_owner(torch.full(shape, -1)).real.numel() == 0
