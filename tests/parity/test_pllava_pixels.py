"""Our frames against those of PLLaVA's processor, which shrinks long ones before it does as CLIP's."""

from __future__ import annotations

from typing import Any

import parity_tools as tools
import pllava_tools
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vidapt.resolutions import whole

SIDE = 336
PROCESSOR = tools.image_processor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
PUBLISHED = {"fit": "crop", "filter": "pillow", "compat": "published"}


def ours(frames: Tensor, **fields: Any) -> Tensor:
    """[T, 3, side, side], normalised as the tower does."""
    part = whole.Part(whole.Part.Config(**{**PUBLISHED, **fields}), size=(SIDE, SIDE))
    (view,) = part.cut(frames, part.plan((frames.shape[1], frames.shape[2]), len(frames)))
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (PROCESSOR.image_mean, PROCESSOR.image_std))
    normalised: Tensor = (view.float() / 255 - mean) / std
    return normalised


SIZES = {
    "1280x720": (720, 1280),
    "portrait": (1280, 720),
    "full HD": (1080, 1920),
    "just above the limit": (480, 641),
    "at the limit": (480, 640),
    "below it": (360, 500),
    "small": (48, 64),
    "small portrait": (101, 57),
    "square": (700, 700),
    "odd": (721, 1283),
    "odd portrait": (1019, 577),
    "narrow": (170, 1333),
    "a column lost": (345, 345 * 2 - 3),
}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_pixels_equal_the_originals(size: tuple[int, int]) -> None:
    frames = tools.film(2, *size)
    frames ^= torch.randint(
        0, 64, frames.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    theirs = pllava_tools.pixels_of(frames, PROCESSOR)
    torch.testing.assert_close(ours(frames), theirs, atol=1e-4, rtol=0)


def test_one_step_and_torchs_filter_give_other_pixels() -> None:
    frames = tools.film(1, 720, 1280)
    theirs = pllava_tools.pixels_of(frames, PROCESSOR)
    assert (ours(frames, compat=None) - theirs).abs().max() > 0.05
    assert (ours(frames, filter="bicubic") - theirs).abs().max() > 1e-3


def test_rounding_of_the_ratio_can_cost_the_last_row_or_column() -> None:
    """It does in some sizes, and then the centre that is cut out moves."""
    sides = [(short, long) for short in range(336, 420) for long in range(short, 641)]
    cut = [(short, long) for short, long in sides if int(short * (long / short)) < long]
    assert cut
    height, width = cut[0]
    frames = tools.film(1, height, width)
    theirs = pllava_tools.pixels_of(frames, PROCESSOR)
    torch.testing.assert_close(ours(frames), theirs, atol=1e-4, rtol=0)


def test_the_two_steps_are_for_cropping() -> None:
    with pytest.raises(ValidationError, match="needs `fit: crop`"):
        whole.Part.Config(fit="squash", compat="published")


def test_a_strip_stays_within_memory() -> None:
    assert ours(torch.zeros(1, 1, 20_000, 3, dtype=torch.uint8)).shape == (1, 3, SIDE, SIDE)
