"""Rows of all processes: what one process sees of a world that is pretended here."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from vidapt.objectives import _gather


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two processes, the first of which brings two rows."""
    monkeypatch.setattr(dist, "is_available", lambda: True)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)

    def all_gather(found: list[Tensor], own: Tensor) -> None:
        other = torch.full_like(found[0], 2) if own.dtype == torch.long else torch.full_like(found[0], 7.0)
        found[0].copy_(other)
        found[1].copy_(own)

    monkeypatch.setattr(dist, "all_gather", all_gather)


def test_alone_there_is_one_process() -> None:
    assert (_gather.processes(), _gather.rank()) == (1, 0)
    assert _gather.counts(3, torch.device("cpu")) == [3]
    x = torch.ones(3, 2)
    assert _gather.gather(x, [3]) is x


@pytest.mark.usefixtures("world")
def test_rows_of_all_processes_stand_in_their_order() -> None:
    assert (_gather.processes(), _gather.rank()) == (2, 1)
    rows = _gather.counts(3, torch.device("cpu"))
    assert rows == [2, 3]
    own = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(_gather.gather(own, rows), torch.cat([torch.full((2, 2), 7.0), own]))
