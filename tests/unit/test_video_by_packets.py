"""Moments that only a file's packets tell: frames that are cheap to decode, and those where much happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidapt.errors import ConfigError
from vidapt.nouns import Clip, Frames
from vidapt.video import Keyframes, Motion, Near, Policy, Uniform, decode, frame_indices, write_mp4
from vidapt.video.by_packets import Coded, moments_of


def coded(kinds: str, sizes: list[int] | None = None, fps: float = 10.0) -> list[Coded]:
    """Pictures in the order they are coded, `k` for a key frame."""
    return [
        Coded(place / fps, kind == "k", (sizes or [100] * len(kinds))[place], place)
        for place, kind in enumerate(kinds)
    ]


def decoded(kinds: str, moments: tuple[float, ...], fps: float = 10.0) -> int:
    """How many packets have to be decoded to show these moments."""
    needed: set[int] = set()
    for moment in moments:
        place = round(moment * fps)
        needed |= set(range(kinds.rindex("k", 0, place + 1), place + 1))
    return len(needed)


def test_near_takes_a_key_frame_where_there_is_one_and_else_the_first_frame_of_its_stretch() -> None:
    kinds = "kpppppkppppppppppppp"
    assert moments_of(Near(count=4), coded(kinds), 0.0, 2.0) == pytest.approx((0.1, 0.6, 1.1, 1.6))
    assert decoded(kinds, (0.1, 0.6, 1.1, 1.6)) == 2 + 11
    assert decoded(kinds, (0.2, 0.7, 1.2, 1.7)) == 3 + 12


def test_near_counts_in_coding_order_where_pictures_are_reordered() -> None:
    # Shown k b b p b b p, coded k p b b p b b: the b after k costs two more than the p behind it.
    shown = [("k", 0), ("b", 2), ("b", 3), ("p", 1), ("b", 5), ("b", 6), ("p", 4)]
    pictures = [Coded(at / 10, kind == "k", 100, order) for at, (kind, order) in enumerate(shown)]
    assert moments_of(Near(count=1), pictures, 0.05, 0.65) == (0.3,)


CLIPS = st.tuples(
    st.text("kp", min_size=0, max_size=60).map(lambda rest: f"k{rest}"),
    st.integers(1, 12),
    st.booleans(),
)


@settings(deadline=None)
@given(CLIPS)
def test_near_stays_within_half_an_interval_and_costs_no_more(clip: tuple[str, int, bool]) -> None:
    kinds, count, pad = clip
    end = len(kinds) / 10
    found = moments_of(Near(count=count, pad=pad), coded(kinds), 0.0, end)
    assert len(found) == (count if pad else min(count, len(kinds)))
    step = end / len(found)
    middles = [(index + 0.5) * step for index in range(len(found))]
    shown = tuple(min(int(middle * 10 + 1e-6), len(kinds) - 1) / 10 for middle in middles)
    assert decoded(kinds, found) <= decoded(kinds, shown)
    if step >= 0.2:  # else not even the frame that is shown at a moment is so near
        assert all(abs(one - middle) <= step / 2 + 1e-9 for one, middle in zip(found, middles, strict=True))
    assert list(found) == sorted(found)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 10_000)), min_size=1, max_size=80),
    st.integers(1, 12),
    st.floats(0, 1),
)
def test_motion_takes_ascending_moments_of_the_clip_and_is_uniform_where_nothing_tells(
    pictures: list[tuple[bool, int]], count: int, calm: float
) -> None:
    kinds = "k" + "".join("k" if key else "p" for key, _ in pictures[1:])
    told = coded(kinds, [size for _, size in pictures])
    end = len(pictures) / 10
    found = moments_of(Motion(count=count, calm=calm), told, 0.0, end)
    assert len(found) == count
    assert all(0 <= a <= b <= end for a, b in zip(found, [*found[1:], end], strict=True))
    even = pytest.approx([(index + 0.5) * end / count for index in range(count)])
    assert list(moments_of(Motion(count=count, calm=1.0), told, 0.0, end)) == even
    assert list(moments_of(Motion(count=count, calm=calm), coded(kinds), 0.0, end)) == even


def film(path: Path, still: int, moving: int) -> Path:
    """Noise that stands still, then a square that runs over it, at 20 frames a second."""
    random = np.random.default_rng(0)
    ground = random.integers(90, 120, (96, 128, 3), np.uint8)
    frames = np.repeat(ground[None], still + moving, axis=0)
    for number in range(moving):
        x = 4 + 3 * number % 90
        frames[still + number, 30:60, x : x + 30] = random.integers(0, 255, (30, 30, 3), np.uint8)
    write_mp4(path, frames, 20, gop=200)
    return path


def take(path: Path, policy: Policy, *span: float) -> Frames:
    return decode(Clip("clip", path, *span), policy)


def test_motion_looks_where_something_moves_in_a_real_file(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", still=120, moving=40)  # 6 s at rest, 2 s of motion
    uniform = take(path, Uniform(count=8)).times_s
    busy = take(path, Motion(count=8)).times_s
    assert (uniform >= 6.0).sum() == 2
    assert (busy >= 5.5).sum() >= 4
    assert (busy < 5.5).sum() >= 2  # half of them are spread evenly all the same
    within = take(path, Motion(count=4), 1.0, 5.0).times_s
    assert ((within >= 1.0) & (within < 5.0)).all()


def test_near_gives_the_very_frames_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    levels = np.arange(0, 200, 5, dtype=np.uint8)
    write_mp4(path, np.broadcast_to(levels[:, None, None, None], (40, 48, 64, 3)).copy(), 10, gop=7)
    frames = take(path, Near(count=5))
    keys = take(path, Keyframes(cap=99)).times_s
    assert set(frames.times_s) - set(keys) == {1.1}  # between 0.8 and 1.6 there is none
    for picture, moment in zip(frames.pixels, frames.times_s, strict=True):
        assert abs(float(picture.mean()) - levels[round(moment * 10)]) < 3
    assert take(path, Near(count=2), 1.05, 1.35).times_s == pytest.approx([1.1, 1.3])


def test_pictures_of_a_folder_and_stills_are_all_as_cheap(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (32, 32), (40 * number,) * 3).save(folder / f"{number}.png")
    clip = Clip("frames", folder, rate=2.0)
    for policy in (Near(count=3), Motion(count=3)):
        assert [round(float(one.mean())) for one in decode(clip, policy).pixels] == [40, 120, 200]
    still = Clip("still", folder / "3.png")
    for wanted in (Near(count=2), Motion(count=2)):
        assert len(decode(still, wanted).pixels) == 2
    assert len(decode(still, Near(count=2, pad=False)).pixels) == 1


def test_without_a_file_nobody_knows_the_moments() -> None:
    with pytest.raises(ConfigError, match="which frames 'motion' takes, only a file tells"):
        frame_indices(Motion(), frames=9, fps=25.0)
