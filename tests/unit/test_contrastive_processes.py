"""Two processes learn what one would learn from all of their clips."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pairs_tools import make_pairs
from torch import Tensor, nn

from vidapt.objectives import Pairs
from vidapt.objectives.contrastive import Part

CLIP_OF, GROUP, CLIPS = [0, 0, 1, 2, 2, 3, 4], [0, 1, 2, 0, 3], 5
SPLIT = [(slice(0, 2), slice(0, 3)), (slice(2, 5), slice(3, 7))]
"""Clips and texts of each process: not as many for both."""

OPTIONS: list[dict[str, Any]] = [
    {},
    {"look_alikes": "excluded", "positives": "any", "duplicate_above": 0.95},
    {"look_alikes": "positives", "positives": "apart", "count": "clips"},
]


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.video, self.text = nn.Linear(6, 4).double(), nn.Linear(6, 4).double()
        self.scale = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self, pairs: Pairs) -> Pairs:
        videos, texts = self.video(pairs.videos.detach()), self.text(pairs.texts.detach())
        unit = nn.functional.normalize
        return dataclasses.replace(
            pairs, videos=unit(videos, dim=-1), texts=unit(texts, dim=-1), scale=self.scale.exp()
        )


def everything() -> Pairs:
    return make_pairs(CLIP_OF, group=GROUP)


def piece(rank: int) -> Pairs:
    whole, (clips, texts) = everything(), SPLIT[rank]
    return dataclasses.replace(
        whole,
        videos=whole.videos[clips],
        texts=whole.texts[texts],
        clip_of=whole.clip_of[texts] - clips.start,
        group=whole.group[clips],
        token_mask=whole.token_mask[texts],
    )


def learn(pairs: Pairs, options: dict[str, Any]) -> tuple[float, float, list[Tensor]]:
    towers = Towers()
    term = Part(Part.Config(**options))(towers(pairs))
    term.value.backward()
    return term.value.item(), term.chance, [p.grad for p in towers.parameters() if p.grad is not None]


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    most = timedelta(seconds=60)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=most)
    try:
        found = []
        for options in OPTIONS:
            value, chance, grads = learn(piece(rank), options)
            for grad in grads:
                dist.all_reduce(grad)
                grad /= 2
            found.append((value, chance, grads))
        torch.save(found, Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    other = mp.get_context("spawn").Process(target=one_of_two, args=(0, str(tmp_path)))
    other.start()
    try:
        one_of_two(1, str(tmp_path))  # here, where coverage sees it
    finally:
        other.join()
    for rank in range(2):
        for options, found in zip(OPTIONS, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            value, chance, grads = found
            expected = learn(everything(), options)
            assert value == pytest.approx(expected[0], abs=1e-12)
            assert chance == pytest.approx(expected[1], abs=1e-12)
            for ours, theirs in zip(grads, expected[2], strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
            alone = learn(piece(rank), options)
            assert abs(alone[0] - expected[0]) > 1e-3
            assert any((a - b).abs().max() > 1e-3 for a, b in zip(alone[2], expected[2], strict=True))
