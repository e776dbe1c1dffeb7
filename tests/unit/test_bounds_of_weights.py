"""What the weights at hand leave room for, to the number; and how tensors that do not fit are listed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from vidapt.errors import CheckpointError
from vidapt.models.assign import mismatches
from vidapt.models.bounds import Bound, bounded

CONFIG = Path("config.json")


def test_twice_what_is_stored_fits_and_some_more() -> None:
    assert Bound.of([(2, 3), (4,), ()], CONFIG) == Bound(CONFIG, (1 << 26) + 2 * 11, 500 + 2 * 3, 3)
    assert Bound.of([], CONFIG) == Bound(CONFIG, 1 << 26, 500, 0)


def test_as_many_weights_as_the_bound_says_are_made_and_no_more() -> None:
    with bounded(Bound(CONFIG, 1000, 4, 1)):
        nn.Linear(2, 2)
        nn.Linear(2, 2, bias=False)
        last = nn.Linear(2, 2, bias=False)
        last.register_parameter("none", None)
        with pytest.raises(CheckpointError, match=r"a model with more than 4 weights; .* are 1 tensors"):
            nn.Linear(2, 2)
    nn.Linear(2, 2)  # nobody counts any more


def test_other_threads_build_what_they_like() -> None:
    other = threading.Thread(target=lambda: nn.ModuleList(nn.Linear(2, 2) for _ in range(9)))
    with bounded(Bound(CONFIG, 1000, 2, 1)):
        other.start()
        other.join()
        nn.Linear(2, 2)


def test_a_tensor_of_as_many_numbers_as_the_bound_says_is_made() -> None:
    with bounded(Bound(CONFIG, 5000, 4, 1)):
        row = torch.ones(5000)
        assert (row * row).shape == (5000,)
        assert torch.ones(70, 70).shape == (70, 70)
        with pytest.raises(CheckpointError, match="a tensor of 5,001 numbers"):
            torch.ones(5001)
        with pytest.raises(CheckpointError, match="a tensor of 10,000 numbers"):
            torch.cat([row, row])
        with pytest.raises(CheckpointError, match="a tensor of 10,000 numbers"):
            row.repeat(repeats=(2,))
        with pytest.raises(CheckpointError, match="a tensor of 6,000 numbers"):
            torch.nn.functional.pad(input=row, pad=(0, 1000))
        assert row.tolist() == [1.0] * 5000
        assert torch.zeros(3, device="cpu").device.type == "cpu"


def test_of_tensors_that_do_not_fit_six_are_named() -> None:
    assert mismatches({"are missing": []}) == ""
    for count, more in ((1, ""), (6, ""), (7, "\n    and 1 more"), (9, "\n    and 3 more")):
        lines = [f"t{n}" for n in range(count)]
        shown = "\n".join(f"    {line}" for line in lines[:6])
        assert mismatches({"are missing": lines, "have odd shapes": []}) == (
            f"{count} tensor(s) are missing:\n{shown}{more}"
        )
    assert mismatches({"a": ["x"], "b": ["y"]}) == "1 tensor(s) a:\n    x\n1 tensor(s) b:\n    y"
