"""What every tower promises: its grid is known before it runs, and clips and chunks do not mix."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from vidapt.parts import kinds

KINDS = kinds("towers")


@pytest.fixture(params=KINDS)
def tower(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return importlib.import_module(f"vidapt.towers.{request.param}").tiny().eval()


def views(tower: Any, clips: int, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(clips * 10 + frames)
    shape = (clips, frames, 3, *tower.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_grid_is_the_one_announced(tower: Any, frames: int) -> None:
    seen = tower(views(tower, 2, frames))
    assert seen.grid == tower.grid(frames, tower.size)
    assert seen.x.shape[0] == 2
    assert seen.x.shape[-1] == tower.width
    assert seen.x.isfinite().all()
    if seen.extra is not None:
        assert seen.extra.shape[0] == 2
        assert seen.extra.shape[-1] == tower.width


def test_clips_in_a_batch_do_not_see_each_other(tower: Any) -> None:
    batch = views(tower, 3, 2)
    together = tower(batch)
    for at in range(3):
        alone = tower(batch[at : at + 1])
        torch.testing.assert_close(together.x[at : at + 1], alone.x, atol=1e-5, rtol=1e-4)
        if alone.extra is not None:
            torch.testing.assert_close(together.extra[at : at + 1], alone.extra, atol=1e-5, rtol=1e-4)


def test_different_pixels_give_different_features(tower: Any) -> None:
    black, white = torch.zeros_like(views(tower, 1, 2)), torch.full_like(views(tower, 1, 2), 255)
    assert not torch.allclose(tower(black).x, tower(white).x)


def test_the_dtype_follows_the_weights(tower: Any) -> None:
    assert tower(views(tower, 1, 2)).x.dtype == torch.float32
    assert tower.to(torch.bfloat16)(views(tower, 1, 2)).x.dtype == torch.bfloat16


def test_gradients_reach_every_trainable_parameter(tower: Any) -> None:
    seen = tower(views(tower, 1, 2))
    loss = seen.x.square().sum()
    if seen.extra is not None:
        loss = loss + seen.extra.square().sum()
    loss.backward()
    without = [name for name, p in tower.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_it_says_how_pixels_are_normalised(tower: Any) -> None:
    assert len(tower.mean) == len(tower.std) == 3
    assert all(type(side) is int and side > 0 for side in tower.size)
