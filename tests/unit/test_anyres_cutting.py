"""AnyRes cuts what transformers' processors cut, to the bit, and joins what their models join."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from vidapt.models.layout import arranged
from vidapt.nouns import Tokens
from vidapt.resolutions import anyres, choose_grid, framed
from vidapt.resolutions._anyres_grid import padding_of_fitted, shrunk

SIDE = 28
NEXT = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
UP_TO_6 = tuple((rows, columns) for rows in range(1, 7) for columns in range(1, 7))
SHAPES = [(90, 160), (160, 90), (61, 47), (28, 28), (10, 300), (300, 7), (1, 1), (1, 200), (200, 1), (33, 34)]


def noise(height: int, width: int, frames: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=generator)


def part(**fields: Any) -> anyres.Part:
    return anyres.Part(anyres.Part.Config.model_validate(fields), size=(SIDE, SIDE), width=4)


def cut(resolution: anyres.Part | framed.Part, pixels: Tensor) -> list[Tensor]:
    return resolution.cut(pixels, resolution.plan((pixels.shape[1], pixels.shape[2]), len(pixels)))


def pinpoints(grids: Any) -> list[list[int]]:
    return [[rows * SIDE, columns * SIDE] for rows, columns in grids]


def theirs(processor: Any, pixels: Tensor) -> Tensor:
    """[views, 3, side, side] as their processor cuts one picture, before it is normalised."""
    given = processor(
        pixels[0].numpy(),
        return_tensors="np",
        input_data_format="channels_last",
        do_rescale=False,
        do_normalize=False,
    )
    return torch.from_numpy(np.asarray(given["pixel_values"][0]))


@pytest.mark.parametrize("shape", SHAPES)
def test_views_are_llava_nexts_to_the_bit(shape: tuple[int, int]) -> None:
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_grid_pinpoints=pinpoints(NEXT),
    )
    pixels = noise(*shape)
    ours, expected = torch.cat(cut(part(), pixels)), theirs(processor, pixels)
    assert ours.dtype == expected.dtype == torch.uint8
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_views_are_onevisions_to_the_bit(shape: tuple[int, int]) -> None:
    processor = LlavaOnevisionImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=pinpoints(UP_TO_6)
    )
    pixels = noise(*shape)
    assert torch.equal(torch.cat(cut(part(grids="1x1..6x6"), pixels)), theirs(processor, pixels))


@pytest.mark.parametrize("shape", [(90, 160), (61, 47), (28, 28), (5, 9)])
def test_one_of_several_stills_is_padded_as_onevision_does_to_the_bit(shape: tuple[int, int]) -> None:
    half = (0.5, 0.5, 0.5)
    processor = LlavaOnevisionImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=half)
    pixels = noise(*shape)
    given = processor(
        [[pixels[0].numpy(), pixels[0].numpy()]],
        return_tensors="np",
        input_data_format="channels_last",
        do_rescale=False,
        do_normalize=False,
    )
    config = framed.Part.Config(fit="pad", colour=(127, 127, 127), filter="pillow")
    (ours,) = cut(framed.Part(config, size=(SIDE, SIDE), width=4), pixels)
    assert torch.equal(ours, torch.from_numpy(given["pixel_values"][0]))


def test_torchs_filter_would_not_do() -> None:
    """The mutation of the tests above: a difference of one level is found."""
    pixels = noise(61, 47)
    pillow = framed.Part(framed.Part.Config(filter="pillow"), size=(SIDE, SIDE), width=4)
    torchs = framed.Part(framed.Part.Config(filter="bicubic"), size=(SIDE, SIDE), width=4)
    assert not torch.equal(cut(pillow, pixels)[0], cut(torchs, pixels)[0])


def test_frames_are_cut_one_like_the_other() -> None:
    frames = noise(40, 90, frames=3)
    together = cut(part(), frames)
    alone = [cut(part(), frame[None]) for frame in frames]
    for index, view in enumerate(together):
        assert torch.equal(view, torch.cat([views[index] for views in alone]))


def test_crop_shows_the_picture_as_it_is() -> None:
    """The ablations' improved AnyRes: no pixel of a tile is an average of others."""
    pixels = noise(40, 90)
    base, *tiles = cut(part(fit="crop", grids="1x1..4x4"), pixels)
    assert base.shape[-2:] == (SIDE, SIDE)
    assert len(tiles) == 2 * 4
    canvas = torch.cat([torch.cat(tiles[:4], dim=-1), torch.cat(tiles[4:], dim=-1)], dim=-2)
    top, left = (2 * SIDE - 40) // 2, (4 * SIDE - 90) // 2
    inside = canvas[0, :, top : top + 40, left : left + 90]
    assert torch.equal(inside.permute(1, 2, 0), pixels[0])
    assert canvas.long().sum() == pixels.long().sum()


def test_crop_of_a_picture_too_large_for_every_grid_keeps_its_middle() -> None:
    pixels = noise(200, 90)
    _, *tiles = cut(part(fit="crop", grids="1x1..2x2"), pixels)
    canvas = torch.cat([torch.cat(tiles[:2], dim=-1), torch.cat(tiles[2:], dim=-1)], dim=-2)
    middle = pixels[0, 72 : 72 + 56, 17 : 17 + 56]
    assert torch.equal(canvas[0].permute(1, 2, 0), middle)


def _their_map(size: tuple[int, int], grids: Any, cells: Tensor, most: int | None) -> Tensor:
    """[tokens, D] as `pack_image_features` of LLaVA-OneVision computes it, without newlines."""
    rows, columns = get_anyres_image_grid_shape(size, pinpoints(grids), SIDE)
    side = cells.shape[1]
    tiles = cells[1:].view(rows, columns, side, side, -1)
    joined = unpad_image(tiles.permute(4, 0, 2, 1, 3).flatten(1, 2).flatten(2, 3), size)
    height, width = joined.shape[1:]
    if most is not None and (ratio := (height * width / (most * side**2)) ** 0.5) > 1.1:
        target = (int(height // ratio), int(width // ratio))
        joined = torch.nn.functional.interpolate(joined[None], target, mode="bilinear")[0]
    return joined.permute(1, 2, 0)


@pytest.mark.parametrize("most", [None, 1, 9])
@pytest.mark.parametrize("shape", [(90, 160), (160, 90), (61, 47), (28, 28), (170, 170), (33, 200), (9, 28)])
def test_tiles_are_joined_unpadded_and_shrunk_as_transformers_does(
    shape: tuple[int, int], most: int | None
) -> None:
    resolution = part(grids="1x1..6x6", most_tiles=most)
    plan = resolution.plan(shape, 1)
    cells = torch.randn(len(plan.views), 5, 5, 4, generator=torch.Generator().manual_seed(0))
    tokens = [Tokens(view.reshape(1, 25, 4), anyres.Grid(1, 5, 5)) for view in cells]
    whole, joined = resolution.arrange(tokens, plan)
    assert isinstance(whole, Tokens)
    assert isinstance(joined, Tokens)
    assert torch.equal(whole.x[0], cells[0].flatten(0, 1))
    expected = _their_map(shape, UP_TO_6, cells, most)
    rows = joined.x[0].reshape(joined.grid.h, joined.grid.w, 4)
    torch.testing.assert_close(rows[:, :-1], expected, atol=1e-5, rtol=0)
    assert (rows[:, -1] == resolution.newline).all()


def test_a_clip_of_frames_is_read_picture_by_picture() -> None:
    resolution = part(most_tiles=1)
    plan = resolution.plan((90, 160), 3)
    x = torch.randn(len(plan.views), 2, 3, 5, 5, 4)
    tokens = [Tokens(view.reshape(2, 75, 4), anyres.Grid(3, 5, 5)) for view in x]
    together = resolution.arrange(tokens, plan)
    alone = resolution.plan((90, 160), 1)
    for frame in range(3):
        single = [Tokens(view[:, frame].reshape(2, 25, 4), anyres.Grid(1, 5, 5)) for view in x]
        for ours, expected in zip(
            together[2 * frame : 2 * frame + 2], resolution.arrange(single, alone), strict=True
        ):
            assert isinstance(ours, Tokens)
            assert isinstance(expected, Tokens)
            assert torch.equal(ours.x, expected.x)


def test_crop_keeps_the_cells_that_show_the_picture() -> None:
    resolution = part(fit="crop", grids="1x1..4x4", newline="none")
    plan = resolution.plan((40, 90), 1)
    tokens = [Tokens(torch.randn(1, 49, 4), anyres.Grid(1, 7, 7)) for _ in plan.views]
    _, joined = resolution.arrange(tokens, plan)
    assert isinstance(joined, Tokens)
    # 40 of 56 pixels are 10 of 14 rows, and 90 of 112 pixels are 22.5 of 28 columns.
    assert (joined.grid.h, joined.grid.w) == (10, 22)


def test_the_published_numbers_of_tokens() -> None:
    """LLaVA-NeXT: 1176 for 336 x 336 pixels, and 576 + 28 rows of 49 for 1080 x 1920; OneVision's by `r`."""

    def count(size: tuple[int, int], side: int, cells: int, **fields: Any) -> int:
        config = anyres.Part.Config.model_validate(fields)
        resolution = anyres.Part(config, size=(side, side), width=4)
        plan = resolution.plan(size, 1)
        spans = arranged(resolution, [(anyres.Grid(1, cells, cells), 0)] * len(plan.views), plan)
        return sum(span[0].cells + span[1] for span in spans if not isinstance(span, str))

    assert count((336, 336), 336, 24) == 1176
    assert count((1080, 1920), 336, 24) == 576 + 28 * 49
    assert count((336, 336), 384, 27, grids="1x1..6x6", most_tiles=9) == 1485
    assert count((1080, 1920), 384, 27, grids="1x1..6x6", most_tiles=9) == 7269


def test_of_equal_grids_the_first_is_taken() -> None:
    tile = (SIDE, SIDE)
    assert choose_grid((SIDE, SIDE), ((1, 2), (2, 1)), tile, resized=True) == (1, 2)
    assert choose_grid((SIDE, SIDE), ((2, 1), (1, 2)), tile, resized=True) == (2, 1)
    assert choose_grid((10, 20), ((2, 2), (1, 1)), tile, resized=False) == (1, 1)


def test_a_strip_keeps_its_middle_where_published_code_keeps_nothing() -> None:
    """3 x 500 pixels cover less than half of one row of 24: transformers' unpadded map is empty."""
    size, cells = (3, 500), (24, 72)
    assert get_anyres_image_grid_shape(size, [[336, 1008]], 336) == (1, 3)
    assert unpad_image(torch.zeros(4, *cells), size).numel() == 0
    assert padding_of_fitted(cells, size, "hf") == (11, 0)
    assert padding_of_fitted(cells, size, "authors") == (11, 0)
    # Of an odd number of rows the middle one always stays, there and here.
    assert unpad_image(torch.zeros(4, 27, 162), size).shape == (4, 1, 162)
    assert padding_of_fitted((27, 162), size, "hf") == (13, 0)


def test_the_two_rounding_rules_differ_where_a_float_falls_short() -> None:
    """Where a float product is 48.99999..., one rule cuts it to 48 and the other rounds it to 49."""
    differing = [
        (height, width)
        for height in range(20, 400)
        for width in range(20, 400)
        if padding_of_fitted((72, 72), (height, width), "hf")
        != padding_of_fitted((72, 72), (height, width), "authors")
    ]
    assert differing
    height, width = differing[0]
    theirs = unpad_image(torch.zeros(1, 72, 72), (height, width)).shape[1:]
    above, left = padding_of_fitted((72, 72), (height, width), "hf")
    assert tuple(theirs) == (72 - 2 * above, 72 - 2 * left)


def test_shrinking_has_slack_and_never_empties() -> None:
    assert shrunk((27, 27), 729) == (27, 27)
    assert shrunk((29, 30), 729) == (29, 30)
    assert shrunk((32, 27), 729) == (32, 27)  # 1.089 times too long
    assert shrunk((33, 27), 729) == (29, 24)  # 1.106 times
    assert shrunk((1, 400), 16) == (1, 80)
    rows, columns = shrunk((54, 81), 729)
    assert rows * columns <= 729


def test_a_connector_that_gives_tokens_without_a_place_is_refused() -> None:
    resolution = part()
    plan = resolution.plan((40, 40), 1)
    with pytest.raises(ValueError, match="no token without a place"):
        arranged(resolution, [(anyres.Grid(1, 2, 2), 1)] * len(plan.views), plan)


@pytest.mark.parametrize("grids", ["1x1-6x6", "1x1..13x13", [], [(0, 1)], [(1, 145)], "2x2..1x1"])
def test_grids_that_cannot_be_cut_are_refused(grids: Any) -> None:
    with pytest.raises(ValidationError, match="grid"):
        anyres.Part.Config(grids=grids)


def test_pixels_of_another_size_than_planned_are_refused() -> None:
    resolution = part()
    with pytest.raises(ValueError, match="the plan is for frames of"):
        resolution.cut(noise(20, 30), resolution.plan((30, 20), 1))
