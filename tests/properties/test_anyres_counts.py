"""What AnyRes reads is known from integers alone, for any picture, and it is never nothing."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.models.llava_onevision.modeling_llava_onevision import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
    unpad_image,
)

from vidapt.models.layout import arranged, stitched
from vidapt.nouns import Features, Grid, Plan, Tokens
from vidapt.resolutions import anyres, framed
from vidapt.resolutions._anyres_grid import (
    choose_grid,
    fitted,
    padding_of_cropped,
    padding_of_fitted,
    shrunk,
)

SIDES = st.one_of(st.integers(1, 12), st.integers(1, 700), st.integers(1, 20_000))
SIZES = st.tuples(SIDES, SIDES)
NEXT = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]
GRIDS = st.one_of(
    st.just(NEXT),
    st.just([(rows, columns) for rows in range(1, 7) for columns in range(1, 7)]),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=6),
)
CONFIGS = st.fixed_dictionaries(
    {
        "grids": GRIDS,
        "fit": st.sampled_from(["resize", "crop"]),
        "most_tiles": st.sampled_from([None, 1, 2, 9]),
        "rounding": st.sampled_from(["authors", "hf"]),
        "newline": st.sampled_from(["row", "none"]),
    }
)


def part(side: tuple[int, int], fields: dict[str, Any]) -> anyres.Part:
    return anyres.Part(anyres.Part.Config.model_validate(fields), size=side, width=1)


@given(
    size=SIZES,
    fields=CONFIGS,
    cells=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    frames=st.integers(1, 2),
)
@example(size=(3, 500), fields={"grids": NEXT}, cells=(24, 24), frames=1)
@example(size=(1, 1), fields={"grids": NEXT, "most_tiles": 1}, cells=(1, 1), frames=1)
@example(size=(20_000, 1), fields={"grids": "1x1..6x6", "most_tiles": 9}, cells=(27, 27), frames=2)
@settings(max_examples=500, deadline=None)
def test_the_tokens_foreseen_are_the_tokens_made(
    size: tuple[int, int], fields: dict[str, Any], cells: tuple[int, int], frames: int
) -> None:
    resolution = part((14, 14), fields)
    plan = resolution.plan(size, frames)
    grid = Grid(frames, *cells)
    made = resolution.arrange([Tokens(torch.zeros(1, grid.cells, 1), grid) for _ in plan.views], plan)
    foreseen = arranged(resolution, [(grid, 0)] * len(plan.views), plan)
    assert tuple((piece.grid, piece.extra) for piece in made if isinstance(piece, Tokens)) == foreseen
    assert len(made) == 2 * frames
    assert all(piece.x.shape[1] >= 1 for piece in made if isinstance(piece, Tokens))


@given(size=SIZES, grids=GRIDS, side=st.integers(1, 400))
@settings(max_examples=500, deadline=None)
def test_the_grid_is_transformers(size: tuple[int, int], grids: list[tuple[int, int]], side: int) -> None:
    pinpoints = [[rows * side, columns * side] for rows, columns in grids]
    ours = choose_grid(size, grids, (side, side), resized=True)
    assert ours == get_anyres_image_grid_shape(size, pinpoints, side)
    assert 1 + ours[0] * ours[1] == image_size_to_num_patches(size, pinpoints, side)


@given(size=SIZES, cells=st.tuples(st.integers(1, 162), st.integers(1, 162)))
@settings(max_examples=500, deadline=None)
def test_unpadding_is_transformers_where_that_keeps_anything(
    size: tuple[int, int], cells: tuple[int, int]
) -> None:
    above, left = padding_of_fitted(cells, size, "hf")
    kept = (cells[0] - 2 * above, cells[1] - 2 * left)
    assert min(kept) >= 1
    theirs = tuple(unpad_image(torch.empty(1, *cells), size).shape[1:])
    if min(theirs) > 0:
        assert kept == theirs
    else:
        # Only where less than one cell of an even number of rows or columns is covered.
        assert kept[theirs.index(0)] == 2
        assert min(cells[0] * size[1] / size[0], cells[1] * size[0] / size[1]) < 1


@given(size=SIZES, canvas=SIZES)
@settings(max_examples=500, deadline=None)
def test_a_fitted_picture_lies_within_its_canvas_and_fills_one_side(
    size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    height, width = fitted(size, canvas)
    assert 1 <= height <= canvas[0]
    assert 1 <= width <= canvas[1]
    assert height == canvas[0] or width == canvas[1]


@given(cells=SIZES, most=st.integers(1, 7000))
@settings(max_examples=500, deadline=None)
def test_a_shrunk_map_is_no_larger_and_not_empty(cells: tuple[int, int], most: int) -> None:
    rows, columns = shrunk(cells, most)
    assert 1 <= rows <= cells[0]
    assert 1 <= columns <= cells[1]
    assert rows * columns <= max(1.21 * most + 1, *cells)


@given(cells=st.tuples(st.integers(1, 60), st.integers(1, 60)), size=SIZES, canvas=SIZES)
@settings(max_examples=500, deadline=None)
def test_a_cropped_picture_keeps_a_cell(
    cells: tuple[int, int], size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    above, left = padding_of_cropped(cells, size, canvas)
    assert cells[0] - 2 * above >= 1
    assert cells[1] - 2 * left >= 1


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    fields=CONFIGS,
    side=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
@settings(max_examples=200, deadline=None)
def test_views_are_cut_as_planned(
    size: tuple[int, int], fields: dict[str, Any], side: tuple[int, int]
) -> None:
    resolution = part(side, fields)
    plan = resolution.plan(size, 2)
    views = resolution.cut(torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8), plan)
    assert [tuple(view.shape) for view in views] == [(2, 3, *view.size) for view in plan.views]


@given(
    grid=st.builds(Grid, st.integers(1, 5), st.integers(1, 30), st.integers(1, 30)),
    extra=st.integers(0, 2),
    pool=st.sampled_from(["none", "average", "max", "bilinear"]),
    stride=st.integers(1, 4),
    order=st.sampled_from(["pool_first", "connector_first"]),
    newline=st.sampled_from(["none", "grid", "frame", "one"]),
)
@settings(max_examples=300, deadline=None)
def test_framed_makes_what_it_foresees(
    grid: Grid, extra: int, pool: Any, stride: int, order: Any, newline: Any
) -> None:
    config = framed.Part.Config(pool=pool, stride=stride, order=order, newline=newline)
    resolution = framed.Part(config, size=(8, 8), width=1)
    plan = Plan(grid.t, (), (8, 8))
    features = Features(torch.zeros(2, grid.t, grid.h, grid.w, 1), torch.zeros(2, extra, 1))
    ((seen,),) = resolution.stitch([features], plan)
    ((foreseen,),) = stitched(resolution, [grid], plan)
    assert seen.grid == foreseen
    assert seen.extra is not None
    tokens = Tokens(torch.cat([seen.x.flatten(1, 3), seen.extra], dim=1), seen.grid, extra)
    (read,) = resolution.arrange([tokens], plan)
    assert isinstance(read, Tokens)
    assert ((read.grid, read.extra),) == arranged(resolution, [(foreseen, extra)], plan)
