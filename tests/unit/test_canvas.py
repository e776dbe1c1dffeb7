"""Canvas positions are those of transformers' MiniCPM-V 4.7, for pictures with and without slices."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.minicpmv4_7.modeling_minicpmv4_7 import MiniCPMV4_7Model

from vidapt.nouns import Grid, Text
from vidapt.positions.canvas import Part

IMAGE, IMAGE_END, SLICE, SLICE_END, NEWLINE = range(1, 6)
PART = Part(Part.Config(image=(IMAGE, IMAGE_END), cell=(SLICE, SLICE_END), newline=NEWLINE))


def picture(
    whole: tuple[int, int], rows: int = 0, columns: int = 0, cell: tuple[int, int] = (2, 2)
) -> list[Any]:
    """Ids and grids of a picture with its marks."""
    read: list[Any] = [IMAGE, Grid(1, *whole), IMAGE_END]
    for row in range(rows):
        read += [NEWLINE] if row else []
        for _ in range(columns):
            read += [SLICE, Grid(1, *cell), SLICE_END]
    return read


def theirs(read: list[Any]) -> torch.Tensor:
    """[3, L] of the original."""
    own = SimpleNamespace(
        config=SimpleNamespace(
            slice_start_id=SLICE,
            slice_end_id=SLICE_END,
            image_start_id=IMAGE,
            image_end_id=IMAGE_END,
            newline_id=NEWLINE,
            downsample_mode="16x",
        ),
        get_vision_position_ids=lambda **given: MiniCPMV4_7Model.get_vision_position_ids(None, **given),
        _frame_end_idx=MiniCPMV4_7Model._frame_end_idx,
    )
    own._group_visual_frames = lambda ids, kinds: MiniCPMV4_7Model._group_visual_frames(own, ids, kinds)
    ids, kinds, sizes = [], [], []
    for piece in read:
        count = piece.cells if isinstance(piece, Grid) else 1
        ids += [99] * count if isinstance(piece, Grid) else [piece]
        kinds += [int(isinstance(piece, Grid))] * count
        sizes += [[piece.h * 4, piece.w * 4]] if isinstance(piece, Grid) else []
    found, _ = MiniCPMV4_7Model.get_rope_index(
        own, torch.tensor([ids]), torch.tensor([kinds]), torch.tensor(sizes) if sizes else None
    )
    return found[:, 0]


def ours(read: list[Any]) -> tuple[torch.Tensor, float]:
    spans = [(piece, 0) if isinstance(piece, Grid) else Text((piece,)) for piece in read]
    return PART.ids(spans)


PICTURES = st.builds(
    picture,
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.integers(0, 3),
    st.integers(1, 3),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
)


@given(st.lists(st.tuples(st.lists(st.integers(10, 20), max_size=3), PICTURES), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_positions_are_the_originals(pieces: list[tuple[list[int], list[Any]]]) -> None:
    read = [10] + [token for text, shown in pieces for token in (*text, *shown)] + [11, 12]
    found, after = ours(read)
    assert torch.equal(found, theirs(read))
    assert after == found[0, -1] + 1
    assert after > found.max()


def test_slices_lie_inside_the_picture_they_were_cut_from() -> None:
    found, _ = ours(picture((2, 2), 2, 3, (2, 2)))
    cells = found[1:, 7:11].T.tolist()
    assert cells == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert found[1:, 1:5].T.tolist() == [[0, 0], [0, 5], [3, 0], [3, 5]]


def test_text_that_does_not_tell_its_ids_has_no_marks() -> None:
    found, after = PART.ids([3, (Grid(1, 2, 2), 0), 2])
    assert found[0].tolist() == [0, 1, 2, 3, 3, 3, 3, 6, 7]
    assert after == 8


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        PART.ids([-1])
