"""What is drawn and counted: maps whose hottest place is known, their noise, and files that open."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.measure.look import (
    Area,
    Panel,
    area_of,
    entropy,
    film,
    grid,
    localisation,
    noise,
    overlay,
    stretched,
    write_film,
)
from vidapt.resolutions import pad, whole

GOLDEN = Path(__file__).with_name("look_golden.png")
"""Made anew by `python tests/unit/test_look_maps.py`."""


def grey(height: int = 36, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), 110, np.uint8)


def hot(cells: tuple[int, int], at: tuple[int, int]) -> np.ndarray:
    heat = np.zeros(cells)
    heat[at] = 1.0
    return heat


def hottest(laid: np.ndarray, frame: np.ndarray) -> tuple[int, int]:
    changed = np.abs(laid.astype(int) - frame).sum(-1)
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    return int(row), int(column)


@pytest.mark.parametrize("at", [(0, 0), (2, 3), (3, 7), (1, 6)])
def test_the_hottest_pixel_lies_in_the_middle_of_the_hottest_patch(at: tuple[int, int]) -> None:
    frame = grey()
    row, column = hottest(overlay(frame, hot((4, 8), at)), frame)
    # At the border the heat is even from the middle of the patch to the edge.
    near_row = at[0] * 9 - 0.5 <= row <= (at[0] + 1) * 9
    near_column = at[1] * 8 - 0.5 <= column <= (at[1] + 1) * 8
    assert near_row
    assert near_column


def test_rows_are_not_columns() -> None:
    frame = grey(40, 40)
    assert hottest(overlay(frame, hot((4, 4), (0, 3))), frame) != hottest(
        overlay(frame, hot((4, 4), (3, 0))), frame
    )


def test_heat_falls_evenly_between_patches() -> None:
    frame = np.zeros((1, 200, 3), np.uint8)
    warmth = overlay(frame, np.array([[0.0, 1.0]])).astype(int).sum((0, 2))
    assert (np.diff(warmth[50:150]) >= 0).all()
    assert (warmth[:50] == 0).all()
    assert (warmth[150:] == warmth[150]).all()


def test_no_heat_leaves_the_frame_alone() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(overlay(frame, np.zeros((3, 3))), frame)


def test_heat_stays_inside_the_area_of_a_crop() -> None:
    frame = grey(100, 100)
    laid = overlay(frame, np.ones((3, 3)), Area(0.25, 0.0, 0.5, 1.0))
    changed = (laid != frame).any(-1)
    assert changed[:, 25:75].all()
    assert not changed[:, :25].any()
    assert not changed[:, 75:].any()


@pytest.mark.parametrize(
    ("part", "size", "area"),
    [
        (whole.Part(whole.Part.Config(), size=(48, 48)), (60, 120), Area()),
        (whole.Part(whole.Part.Config(filter="area"), size=(24, 40)), (90, 160), Area()),
        (whole.Part(whole.Part.Config(fit="crop"), size=(48, 48)), (60, 120), Area(0.25, 0.0, 0.5, 1.0)),
        (whole.Part(whole.Part.Config(fit="crop"), size=(48, 48)), (120, 60), Area(0.0, 0.25, 1.0, 0.5)),
        (pad.Part(pad.Part.Config(), size=(48, 48)), (60, 120), Area(0.0, -0.5, 1.0, 2.0)),
    ],
)
def test_the_area_of_a_view_is_found(part: whole.Part | pad.Part, size: tuple[int, int], area: Area) -> None:
    def cut(pixels: Tensor) -> Tensor:
        (view,) = part.cut(pixels, part.plan((pixels.shape[1], pixels.shape[2]), len(pixels)))
        return view

    found = area_of(cut, size, frames=2)
    for name in ("left", "top", "width", "height"):
        assert getattr(found, name) == pytest.approx(getattr(area, name), abs=0.02), name


def test_an_area_too_small_to_tell_is_the_whole() -> None:
    def cut(pixels: Tensor) -> Tensor:
        return pixels[:, :1, :1].permute(0, 3, 1, 2)

    assert area_of(cut, (1, 1)) == Area()


def test_a_map_is_stretched_over_the_whole_clip() -> None:
    values = np.array([[[1.0, 2.0]], [[3.0, 5.0]]])
    assert stretched(values).tolist() == [[[0.0, 0.25]], [[0.5, 1.0]]]
    assert not stretched(np.full((2, 3, 3), 0.3)).any()


def test_entropy_is_none_on_one_patch_and_full_when_even() -> None:
    one = torch.zeros(3, 4, 5)
    one[:, 1, 2] = 0.2
    assert entropy(one) == 0.0
    assert entropy(torch.full((3, 4, 5), 0.01)) == pytest.approx(1.0)
    two = torch.zeros(1, 2, 2)
    two[0, 0] = 1.0
    assert entropy(two) == pytest.approx(0.5)
    assert entropy(torch.zeros(1, 2, 2)) == 1.0
    assert entropy(torch.ones(2, 1, 1)) == 0.0


def test_a_frame_counts_by_its_weight() -> None:
    both = torch.zeros(2, 2, 2)
    both[0] = 0.75
    both[1, 0, 0] = 1.0
    assert entropy(both) == pytest.approx(0.75)


def test_noise_counts_attention_on_patches_of_outlying_norm() -> None:
    weights, norms = torch.ones(2, 5, 5), torch.ones(2, 5, 5)
    assert noise(weights, norms).patches == 0
    norms[1, 4, 4] = 50.0
    weights[1, 4, 4] = 51.0
    found = noise(weights, norms)
    assert found.patches == 1
    assert found.high_norm == pytest.approx(0.51)
    assert "51.0 %" in found.line()
    norms[:, 0] = 50.0  # so many are no outliers
    assert noise(weights, norms).patches == 0


def track(*places: tuple[float, float, float]) -> Tensor:
    return torch.tensor(places)


def test_localisation_is_the_share_near_the_thing() -> None:
    weights = torch.zeros(2, 4, 8)
    weights[0, 1, 2] = 3.0
    weights[0, 3, 7] = 1.0
    weights[1, 0, 0] = 4.0
    here = track((1.0, 2.5 / 8, 1.5 / 4), (1.0, 0.9, 0.9))
    found = localisation(weights, here, radius=0.05, size=(90, 160))
    assert found.share == pytest.approx(3 / 8)
    assert found.chance == pytest.approx(1 / 32)
    assert found.hits == 0.5
    assert found.frames == 2
    absent = track((1.0, 2.5 / 8, 1.5 / 4), (0.0, 0.0, 0.0))
    assert localisation(weights, absent, 0.05, (90, 160)).share == pytest.approx(3 / 4)


def test_x_is_not_y() -> None:
    weights = torch.zeros(1, 4, 8)
    weights[0, 0, 5] = 1.0
    assert localisation(weights, track((1.0, 5.5 / 8, 0.5 / 4)), 0.05, (90, 160)).share == 1.0
    assert localisation(weights, track((1.0, 0.5 / 4, 5.5 / 8)), 0.05, (90, 160)).share == 0.0


def test_a_radius_is_round_in_the_picture() -> None:
    """Where patches are twice as wide as high, a radius of one height does not reach the next column."""
    weights = torch.zeros(1, 4, 4)
    weights[0, 0, 1] = weights[0, 1, 2] = 1.0
    here = track((1.0, 1.5 / 4, 1.5 / 4))
    assert localisation(weights, here, 0.26, (100, 200)).share == 0.5
    assert localisation(weights, here, 0.26, (200, 100)).share == 0.5 + 0.5
    assert localisation(weights, here, 0.0, (100, 200)).chance == pytest.approx(1 / 16)


def test_localisation_knows_the_area_of_a_crop() -> None:
    weights = torch.zeros(1, 2, 2)
    weights[0, 0, 0] = 1.0
    here = track((1.0, 0.3, 0.2))
    crop = Area(0.25, 0.0, 0.5, 1.0)
    assert localisation(weights, here, 0.0, (100, 200), crop).share == 1.0
    outside = localisation(weights, track((1.0, 0.1, 0.2)), 0.0, (100, 200), crop)
    assert outside.share == outside.chance == 0.0


def test_nothing_to_localise_is_no_number() -> None:
    gone = localisation(torch.ones(1, 2, 2), track((0.0, 0.0, 0.0)), 0.1, (1, 1))
    assert np.isnan(gone.share)
    assert gone.frames == 0
    with pytest.raises(ValueError, match="a track"):
        localisation(torch.ones(2, 2, 2), track((1.0, 0.5, 0.5)), 0.1, (1, 1))


def panel(frames: int = 3, height: int = 36, width: int = 64, name: str = "one") -> Panel:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    return Panel((name, "a map", "noise"), pixels, np.arange(frames) * 0.5, rng.random((frames, 4, 8)))


def test_models_stand_side_by_side_and_meet_in_time() -> None:
    first, second = panel(4), panel(2, name="two")
    alone, both = film([first]), film([first, second])
    assert len(both) == 4
    assert both.shape[2] > 2 * alone.shape[2]
    assert np.array_equal(both[:, : alone.shape[1], : alone.shape[2]][:, :200], alone[:, :200])
    left = alone.shape[2] + 6
    right = both[:, :200, left:]
    assert np.array_equal(right[2], right[1])
    assert not np.array_equal(right[0], right[1])


def test_a_long_name_is_cut_and_a_narrow_film_keeps_its_words() -> None:
    one = panel(1, height=400, width=20)
    long = Panel(("x" * 500, "a map", "noise"), one.frames, one.times_s, one.heat)
    assert film([long]).shape[2] == 360


def test_a_sheet_shows_every_frame_in_order() -> None:
    tiles = np.zeros((5, 10, 10, 3), np.uint8)
    tiles += np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * 40
    sheet = grid(tiles)
    assert sheet.shape == (30, 20, 3)
    assert [int(sheet[y, x, 0]) for y, x in ((5, 5), (5, 15), (15, 5), (15, 15), (25, 5))] == [
        40, 80, 120, 160, 200,
    ]  # fmt: skip


def golden() -> np.ndarray:
    """Two frames with a map each, without words: fonts differ between versions."""
    rows, columns = np.mgrid[0:36, 0:64]
    frame = np.stack([rows * 5, columns * 3, 200 - rows * 2], -1).astype(np.uint8)
    heat = stretched(np.add.outer(np.arange(2.0), np.outer(np.arange(4.0), np.sin(np.arange(8.0)))))
    tiles = np.stack([overlay(frame, heat[0]), overlay(frame, heat[1], Area(0.2, -0.1, 0.6, 1.2))])
    return grid(tiles)


def test_the_overlay_is_the_one_on_file() -> None:
    kept = np.asarray(Image.open(GOLDEN)).astype(int)
    made = golden().astype(int)
    assert kept.shape == made.shape
    assert np.abs(kept - made).max() <= 1


def test_a_gif_has_its_frames_and_their_times(tmp_path: Path) -> None:
    one = panel(4)
    write_film(tmp_path / "deep" / "a.gif", film([one]), np.array([0.0, 0.1, 0.5, 0.6]))
    with Image.open(tmp_path / "deep" / "a.gif") as image:
        assert image.format == "GIF"
        assert getattr(image, "n_frames", 0) == 4
        assert image.info["loop"] == 0
        lasting = []
        for index in range(4):
            image.seek(index)
            lasting.append(image.info["duration"])
    assert lasting == [100, 400, 100, 100]


def test_equal_frames_all_stay_in_a_gif(tmp_path: Path) -> None:
    one = panel(3)
    still = Panel(one.lines, one.frames[:1].repeat(3, 0), np.zeros(3), one.heat[:1].repeat(3, 0))
    write_film(tmp_path / "a.gif", film([still]), still.times_s)
    with Image.open(tmp_path / "a.gif") as image:
        assert getattr(image, "n_frames", 0) == 3


def test_an_mp4_has_its_frames(tmp_path: Path) -> None:
    one = panel(5)
    write_film(tmp_path / "a.MP4", film([one]), one.times_s)
    with av.open(tmp_path / "a.MP4") as container:
        assert container.format.name.startswith("mov,mp4")
        frames = list(container.decode(video=0))
        assert container.streams.video[0].average_rate == 2
    assert len(frames) == 5


def test_a_png_is_one_sheet(tmp_path: Path) -> None:
    one = panel(4)
    shown = film([one])
    write_film(tmp_path / "a.png", shown, one.times_s)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.width * image.height == 4 * shown.shape[1] * shown.shape[2]


def test_a_single_frame_is_a_film_too(tmp_path: Path) -> None:
    one = panel(1)
    for name in ("a.gif", "a.mp4", "a.png"):
        write_film(tmp_path / name, film([one]), one.times_s)
        assert (tmp_path / name).stat().st_size > 0


def test_another_ending_offers_those_known(tmp_path: Path) -> None:
    one = panel(1)
    with pytest.raises(ConfigError, match=r"'\.giff' cannot be written(.|\n)*did you mean '\.gif'"):
        write_film(tmp_path / "a.giff", film([one]), one.times_s)
    (tmp_path / "b.gif").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        write_film(tmp_path / "b.gif", film([one]), one.times_s)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.gif"]


def test_a_place_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = panel(1)
    with pytest.raises(ConfigError, match="file is no folder"):
        write_film(tmp_path / "file" / "a.gif", film([one]), one.times_s)


if __name__ == "__main__":
    Image.fromarray(golden()).save(GOLDEN)
    sys.stdout.write(f"{GOLDEN}\n")
