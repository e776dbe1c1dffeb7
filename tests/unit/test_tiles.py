"""Tiles are those that the originals' processors cut, in their order, with the whole picture last."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from vidapt.errors import ConfigError
from vidapt.nouns import Grid, Tokens
from vidapt.parts import build
from vidapt.resolutions import tiles
from vidapt.resolutions._tile_grid import grids, nearest_shape

TILE = 16
SIZES = [(30, 40), (16, 16), (100, 20), (7, 90), (33, 33), (64, 48), (1, 200)]
MARKS = {
    "tile": "<around><row_{row}_col_{column}>",
    "row_end": "\n",
    "tiles_end": "\n",
    "whole": ("<around><global>", "<around>"),
}


def picture(size: tuple[int, int]) -> Tensor:
    """[1, H, W, 3] uint8."""
    return torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def cut(part: tiles.Part, size: tuple[int, int]) -> Tensor:
    """[views, 3, side, side]."""
    pixels = picture(size)
    return torch.cat(part.cut(pixels, part.plan(size, 1)))


def nearest(**changes: int) -> tiles.Part:
    return tiles.Part(tiles.Part.Config(**changes), size=(TILE, TILE))


def longest(length: int = 4 * TILE) -> tiles.Part:
    config = tiles.Part.Config(longest=length, most=16, filter="lanczos", **MARKS)
    return tiles.Part(config, size=(TILE, TILE))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("least", "most"), [(1, 12), (2, 6), (1, 1)])
def test_tiles_of_the_nearest_ratio_are_the_originals(size: tuple[int, int], least: int, most: int) -> None:
    processor = GotOcr2ImageProcessorPil(
        size={"height": TILE, "width": TILE},
        crop_to_patches=True,
        min_patches=min(least, most),
        max_patches=most,
        do_normalize=False,
        do_rescale=False,
    )
    made = processor(picture(size)[0].numpy(), return_tensors="pt", input_data_format="channels_last")
    assert torch.equal(made["pixel_values"].byte(), cut(nearest(least=min(least, most), most=most), size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", [4 * TILE, 3 * TILE + 5, TILE])
def test_tiles_of_a_long_side_are_the_originals(size: tuple[int, int], length: int) -> None:
    processor = SmolVLMImageProcessorPil(
        size={"longest_edge": length},
        max_image_size={"longest_edge": TILE},
        return_row_col_info=True,
        do_normalize=False,
        do_rescale=False,
    )
    made = processor(picture(size)[0].numpy(), return_tensors="pt", input_data_format="channels_last")
    part = longest(length)
    assert torch.equal(made["pixel_values"][0].byte(), cut(part, size))
    grid = (made["rows"][0][0], made["cols"][0][0])
    assert grid == (part.grid(size) if part.grid(size) != (1, 1) else (0, 0))


@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    least=st.integers(1, 4),
    more=st.integers(0, 12),
)
@settings(max_examples=300, deadline=None)
def test_every_size_takes_the_originals_grid(size: tuple[int, int], least: int, more: int) -> None:
    columns, rows = get_optimal_tiled_canvas(size, (448, 448), least, least + more)
    assert nearest_shape(size, grids(least, least + more), (448, 448)) == (rows, columns)


def test_a_long_side_without_division_is_squashed_last() -> None:
    """As the original does without splitting, which is how it sees frames."""
    processor = SmolVLMImageProcessorPil(
        size={"longest_edge": 40},
        max_image_size={"longest_edge": TILE},
        do_image_splitting=False,
        do_normalize=False,
        do_rescale=False,
    )
    made = processor(picture((30, 90))[0].numpy(), return_tensors="pt", input_data_format="channels_last")
    config = tiles.Part.Config(longest=40, most=1, filter="lanczos")
    ours = cut(tiles.Part(config, size=(TILE, TILE)), (30, 90))
    assert torch.equal(made["pixel_values"][0].byte(), ours)


def read(part: tiles.Part, size: tuple[int, int], frames: int = 1) -> list[int | str]:
    """What is read: text, and for a piece of a view the number of the view and frame it came from."""
    plan = part.plan(size, frames)
    tokens = [
        Tokens(torch.arange(frames).float().view(1, frames, 1) + 100 * view, Grid(frames, 1, 1))
        for view in range(len(plan.views))
    ]
    return [x if isinstance(x, str) else int(x.x.item()) for x in part.arrange(tokens, plan)]


def test_marks_stand_where_the_original_writes_them() -> None:
    assert read(longest(), (20, 30)) == [
        *("<around><row_1_col_1>", 0, "<around><row_1_col_2>", 100),
        *("<around><row_1_col_3>", 200, "<around><row_1_col_4>", 300),
        *("\n<around><row_2_col_1>", 400, "<around><row_2_col_2>", 500),
        *("<around><row_2_col_3>", 600, "<around><row_2_col_4>", 700),
        *("\n<around><row_3_col_1>", 800, "<around><row_3_col_2>", 900),
        *("<around><row_3_col_3>", 1000, "<around><row_3_col_4>", 1100),
        *("\n\n<around><global>", 1200, "<around>"),
    ]
    assert read(longest(TILE), (20, 30)) == ["<around><global>", 0, "<around>"]


def test_tiles_without_marks_and_frames_one_by_one() -> None:
    assert read(nearest(), (32, 32)) == [0, 100, 200, 300, 400]
    assert read(nearest(most=2), (16, 32), frames=2) == [0, 100, 200, 1, 101, 201]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"least": 5, "most": 4}, "more than `most`"),
        ({"filter": "lanczos", "kernel": "torch"}, "no `lanczos`"),
        ({"longest": 400, "most": 12}, "13 x 13 tiles|25 x 25 tiles"),
        ({"longest": 5000}, "longest"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        build("resolutions", {"kind": "tiles", **fields}, size=(TILE, TILE), width=4)
