"""`rope1d` counts tokens, and scales linearly when asked."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from vidapt.nouns import Grid
from vidapt.positions.rope1d import Part


def test_words_and_clips_count_alike() -> None:
    ids, after = Part(Part.Config()).ids([3, (Grid(2, 2, 2), 1), 2])
    assert ids.tolist() == [list(range(14))]
    assert ids.dtype == torch.int64
    assert after == 14


def test_positions_continue_from_where_they_are_told() -> None:
    ids, after = Part(Part.Config()).ids([2], start=7)
    assert ids.tolist() == [[7, 8]]
    assert after == 9


def test_a_factor_divides_positions() -> None:
    ids, after = Part(Part.Config(factor=4)).ids([2, (Grid(1, 1, 3), 0)])
    assert ids.dtype == torch.float32
    assert ids.tolist() == [[0, 0.25, 0.5, 0.75, 1]]
    assert after == 1.25


def test_nothing_gives_nothing() -> None:
    ids, after = Part(Part.Config()).ids([], start=5)
    assert ids.shape == (1, 0)
    assert after == 5


def test_negative_lengths_and_factors_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Part(Part.Config()).ids([3, -1])
    with pytest.raises(ValidationError):
        Part.Config(factor=0.5)
