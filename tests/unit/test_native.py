"""The `native` resolution has the sides and the pixels of Qwen2-VL's own processor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from vidapt.resolutions.native import Part

STILL = Part(Part.Config())
VIDEO = Part(
    Part.Config(
        min_pixels=128 * 784, max_pixels=768 * 784, total_pixels=int(128_000 * 784 * 0.9), kernel="torch"
    )
)


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    """Sides from one pixel up, no more than 200 times one another."""
    short = draw(st.integers(1, 5000))
    long = draw(st.integers(short, min(200 * short, 20_000)))
    return (short, long) if draw(st.booleans()) else (long, short)


def side_of(part: Part, size: tuple[int, int], frames: int = 1) -> tuple[int, int]:
    (view,) = part.plan(size, frames).views
    return view.size


@given(size=sizes())
@settings(max_examples=500, deadline=None)
def test_sides_of_stills_are_the_processors(size: tuple[int, int]) -> None:
    assert side_of(STILL, size) == smart_resize(*size)


@given(size=sizes(), frames=st.integers(2, 10_000))
@settings(max_examples=500, deadline=None)
def test_frames_of_a_video_share_one_total(size: tuple[int, int], frames: int) -> None:
    share = int(128_000 * 784 * 0.9) * 2 // frames
    most = max(min(768 * 784, share), int(128 * 784 * 1.05))
    assert side_of(VIDEO, size, frames) == smart_resize(*size, min_pixels=128 * 784, max_pixels=most)


def test_the_total_counts_for_long_clips_only() -> None:
    assert side_of(VIDEO, (1080, 1920), 300) == side_of(VIDEO, (1080, 1920), 2)
    assert side_of(VIDEO, (1080, 1920), 400) < side_of(VIDEO, (1080, 1920), 2)
    height, width = side_of(VIDEO, (1080, 1920), 10_000)
    assert 0.9 * 128 * 784 < height * width <= 1.05 * 128 * 784


@pytest.mark.parametrize(
    ("size", "expected"), [((1, 1), (56, 56)), ((5, 900), (28, 756)), ((20, 27), (56, 84))]
)
def test_sides_below_a_block_are_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert smart_resize(*size) == expected
    assert side_of(STILL, size) == expected


@pytest.mark.parametrize("size", [(10, 2001), (2001, 10)])
def test_a_frame_of_extreme_shape_is_refused_by_its_ratio(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"aspect ratio of 200\.1, more than 200"):
        STILL.plan(size, 1)
    assert STILL.plan((10, 2000), 1)
    assert side_of(Part(Part.Config(max_aspect=None)), size)


@pytest.mark.parametrize("size", [(90, 160), (333, 77), (20, 12), (1, 3), (56, 84), (1500, 1400)])
def test_pixels_of_stills_are_bit_equal_to_the_processors(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(size[0])
    still = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8, generator=generator)
    (view,) = STILL.cut(still, STILL.plan(size, 1))
    raw = Qwen2VLImageProcessorPil(do_rescale=False, do_normalize=False)
    theirs = raw(still[0].numpy(), return_tensors="pt", input_data_format="channels_last")
    assert torch.equal(_blocks(view[0]).float(), theirs["pixel_values"])
    assert theirs["image_grid_thw"].tolist() == [[1, view.shape[2] // 14, view.shape[3] // 14]]


def _blocks(frame: Tensor) -> Tensor:
    """[3, H, W] -> [patches, 1176]: 2 x 2 blocks row by row; in a patch channel, time, row, column."""
    rows = []
    for top in range(0, frame.shape[1], 28):
        for left in range(0, frame.shape[2], 28):
            for down in (0, 14):
                for right in (0, 14):
                    patch = frame[:, top + down : top + down + 14, left + right : left + right + 14]
                    rows.append(torch.stack([patch, patch], dim=1).flatten())
    return torch.stack(rows)


def test_the_kernels_of_stills_and_videos_agree_but_for_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = 60 + 130 * torch.rand(3, 3, 9, 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(90, 160), mode="bilinear")
    frames = smooth.permute(0, 2, 3, 1).to(torch.uint8)
    cuts = []
    for kernel in ("pillow", "torch"):
        part = Part(Part.Config(kernel=kernel))
        cuts += part.cut(frames, part.plan((90, 160), 3))
    assert cuts[0].is_contiguous()
    assert cuts[1].is_contiguous()
    assert (cuts[0].int() - cuts[1].int()).abs().max() <= 2  # two passes, each rounded


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_pixels 2000 is more than max_pixels 1000"):
        Part.Config(min_pixels=2000, max_pixels=1000)
