"""`slices`: the published choice of grid and sizes, Pillow's pixels, and the marks between views."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil

from vidapt.models.layout import arranged
from vidapt.nouns import Grid, Tokens
from vidapt.resolutions.slices import Part

SIDE, PATCH = 448, 14
SIZES = st.tuples(st.integers(1, 9000), st.integers(1, 9000))
STRIPS = st.sampled_from([(1, 1), (1, 65535), (65535, 1), (3, 30000), (30000, 7), (1, 35_000_000)])
SPAN = (Grid(1, 1, 64), 0)


def build(**fields: Any) -> Part:
    return Part(Part.Config(**fields), size=(980, 980), width=8)


def published_grid(size: tuple[int, int], most: int) -> list[int] | None:
    """[columns, rows] by the authors' rule, as written in the facts."""
    height, width = size
    wanted = min(math.ceil(width * height / (SIDE * SIDE)), most)
    if wanted <= 1:
        return None
    best, error = [1, 1], math.inf
    for count in (wanted - 1, wanted, wanted + 1):
        if count == 1 or count > most:
            continue
        for columns in range(1, count + 1):
            if count % columns == 0:
                rows = count // columns
                found = abs(math.log(width / height) - math.log(columns / rows))
                if found < error:
                    best, error = [columns, rows], found
    return best


def nearest_multiple(length: float, unit: int) -> int:
    return max(round(length / unit) * unit, unit)


def published_fit(height: float, width: float) -> tuple[int, int]:
    ratio = width / height
    tall = int(SIDE / math.sqrt(ratio))
    wide = int(tall * ratio)
    return nearest_multiple(tall, PATCH), nearest_multiple(wide, PATCH)


def published_views(size: tuple[int, int], most: int = 9) -> list[tuple[int, int]]:
    grid = published_grid(size, most)
    views = [published_fit(*size)]
    if grid is not None:
        columns, rows = grid
        refined = nearest_multiple(size[0], rows), nearest_multiple(size[1], columns)
        views += [published_fit(refined[0] / rows, refined[1] / columns)] * (rows * columns)
    return views


@given(size=SIZES | STRIPS, most=st.integers(1, 9))
@example(size=(1080, 1920), most=9)
@settings(max_examples=500, deadline=None)
def test_views_are_the_published_ones_for_any_size(size: tuple[int, int], most: int) -> None:
    plan = build(max_slices=most).plan(size, 1)
    sides = [view.size for view in plan.views]
    assert sides == published_views(size, most)
    assert all(side >= PATCH and side % PATCH == 0 for view in sides for side in view)
    assert len(sides) <= 1 + most
    # No view is larger than the area asked for, beyond rounding to patches.
    assert all((h - PATCH) * (w - PATCH) <= SIDE * SIDE for h, w in sides)


def test_the_grid_is_the_one_transformers_chooses() -> None:
    processor, chance = MiniCPMV4_6ImageProcessorPil(), random.Random(5)
    for _ in range(4000):
        size = chance.randrange(1, 5000), chance.randrange(1, 5000)
        theirs = processor.get_sliced_grid(size, 9, SIDE)
        ours = build().cells(size, 1)
        assert (None if ours is None else [ours.rows, ours.columns]) == theirs, size


def test_sizes_worked_out_by_hand() -> None:
    plan = build().plan((1080, 1920), 1)
    assert build().cells((1080, 1920), 1) == (2, 4)  # of 8 and 9: |ln 16/9 - ln 2| is the least
    assert [view.size for view in plan.views] == [(336, 602)] + [(476, 420)] * 8
    assert [view.size for view in build().plan((448, 448), 1).views] == [(448, 448)]
    assert [view.size for view in build().plan((30, 60), 1).views] == [(322, 630)], (
        "small stills are enlarged"
    )


@pytest.mark.parametrize(
    ("frames", "count"), [(1, 2), (16, 2), (17, 0)], ids=["a still", "a short clip", "a long clip"]
)
def test_clips_of_many_frames_are_cut_less(frames: int, count: int) -> None:
    plan = build(max_slices=2).plan((720, 1280), frames)
    assert len(plan.views) == 1 + count


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def published_cut(frame: np.ndarray) -> list[np.ndarray]:
    """Pillow resizes the frame twice; cells are cropped row by row."""
    size = (frame.shape[0], frame.shape[1])
    whole, *cells = published_views(size)
    image = Image.fromarray(frame)
    cut = [image.resize((whole[1], whole[0]), Image.Resampling.BICUBIC)]
    if cells:
        grid = published_grid(size, 9)
        assert grid is not None
        (height, width), (columns, rows) = cells[0], grid
        refined = image.resize((width * columns, height * rows), Image.Resampling.BICUBIC)
        corners = [(left * width, top * height) for top in range(rows) for left in range(columns)]
        cut += [refined.crop((left, top, left + width, top + height)) for left, top in corners]
    return [np.asarray(view) for view in cut]


@pytest.mark.parametrize("size", [(720, 1280), (900, 500), (61, 47), (5, 700), (2000, 30)])
def test_pixels_are_pillows(size: tuple[int, int]) -> None:
    frames = np.stack([picture(*size, seed=seed) for seed in (1, 2)])
    part = build(many=99)
    views = part.cut(torch.from_numpy(frames), part.plan(size, 2))
    expected = [published_cut(frame) for frame in frames]
    assert len(views) == len(expected[0])
    for index, view in enumerate(views):
        assert view.dtype == torch.uint8
        for moment in range(2):
            assert np.array_equal(view[moment].permute(1, 2, 0).numpy(), expected[moment][index])


def test_another_order_or_another_filter_would_show() -> None:
    frame = picture(720, 1280)
    part = build()
    _, first, second, *_ = part.cut(torch.from_numpy(frame[None]), part.plan((720, 1280), 1))
    _, theirs, *_ = published_cut(frame)
    assert not np.array_equal(second[0].permute(1, 2, 0).numpy(), theirs)
    pixels = torch.from_numpy(frame[None]).permute(0, 3, 1, 2)
    rows, columns = build().cells((720, 1280), 1) or (0, 0)
    refined = (first.shape[2] * rows, first.shape[3] * columns)
    torchs = F.interpolate(pixels, size=refined, mode="bicubic", antialias=True)
    assert not torch.equal(torchs[..., : first.shape[2], : first.shape[3]], first)


def test_marks_of_a_still() -> None:
    part = build()
    plan = part.plan((900, 900), 1)  # 3 x 2 or 2 x 2 of five wanted
    cells = part.cells((900, 900), 1)
    assert cells == (2, 2)
    assert arranged(part, [SPAN] * 5, plan) == (
        "<image_id>{index}</image_id><image>",
        SPAN,
        "</image><slice>",
        SPAN,
        "</slice><slice>",
        SPAN,
        "</slice>\n<slice>",
        SPAN,
        "</slice><slice>",
        SPAN,
        "</slice>",
    )
    assert arranged(part, [SPAN], part.plan((9, 9), 1)) == (
        "<image_id>{index}</image_id><image>",
        SPAN,
        "</image>",
    )


def test_marks_of_a_clip() -> None:
    part = build(image_id=None, max_slices=2)
    plan = part.plan((448, 896), 2)
    two = (Grid(2, 1, 64), 0)
    frame = (SPAN, "</image><slice>", SPAN, "</slice><slice>", SPAN)
    expected = ("<image>", *frame, "</slice>\n<image>", *frame, "</slice>")
    assert arranged(part, [two, two, two], plan) == expected


def test_tokens_are_read_moment_by_moment() -> None:
    part = build(image_id=None, max_slices=2)
    plan = part.plan((448, 896), 2)
    views = [torch.randn(3, 2 * 4, 5) for _ in range(3)]
    read = part.arrange([Tokens(x, Grid(2, 1, 4)) for x in views], plan)
    found = torch.cat([piece.x for piece in read if not isinstance(piece, str)], dim=1)
    expected: list[Tensor] = [view[:, 4 * t : 4 * t + 4] for t in range(2) for view in views]
    assert torch.equal(found, torch.cat(expected, dim=1))
    assert not torch.equal(found, torch.cat(views, dim=1)), "views after views is another order"


def test_tokens_of_no_moment_are_refused() -> None:
    part = build()
    with pytest.raises(ValueError, match="no moment"):
        arranged(part, [(Grid(1, 1, 64), 1)], part.plan((9, 9), 1))


def test_a_side_below_the_patch_is_refused() -> None:
    with pytest.raises(ValidationError, match="cannot hold a patch"):
        Part.Config(side=10)
