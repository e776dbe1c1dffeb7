"""Masks where columns are padded, or begin behind others, and how a batch says it is to attend."""

from __future__ import annotations

import pytest
import torch
from training_tools import video_lm

from vidapt.models.attention import real_token_mask
from vidapt.models.packed import Group, pack
from vidapt.models.text import Encoded

REAL = torch.tensor([[True, True, False, True, True]])


@pytest.mark.parametrize("window", [None, 2])
def test_columns_are_counted_from_where_they_begin(window: int | None) -> None:
    """Rows 3 and 4 of five columns look at columns 1 to 4, of which 2 is padding."""
    mask = real_token_mask(
        batch_size=1,
        q_length=2,
        kv_length=4,
        q_offset=3,
        kv_offset=1,
        attention_mask=REAL,
        local_size=window,
        allow_is_causal_skip=False,
    )
    assert mask is not None
    near = [[True, False, True, False], [window is None, False, True, True]]
    assert mask[0, 0].tolist() == near


@pytest.mark.parametrize("flex", [False, True])
def test_a_batch_says_how_it_attends(flex: bool) -> None:
    group = Group((Encoded(((1, 2),), (3, 4), (False, True)),), ())
    assert pack([group], video_lm().positions, flex=flex).layout.flex is flex
