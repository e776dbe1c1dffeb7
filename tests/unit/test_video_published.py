"""Frames by their numbers: against the originals' own formulas, and in files of uneven frames."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.video_utils import VideoMetadata

from vidapt.errors import BrokenClip, ConfigError
from vidapt.nouns import Clip
from vidapt.video import Every, Keyframes, Policy, Times, Uniform, decode, frame_indices

BENCHMARK = Uniform(count=16, compat="published")
TRAINING = Uniform(count=16, compat="published_train")
QWEN = Every(rate=2, cap=768, least=4, at="endpoints", compat="published")


# --- what the originals compute, with their libraries ----------------------------------------------------


def demo_of_pllava(frames: int, count: int) -> list[int]:
    segment = float(frames - 1) / count
    start = int(segment / 2)
    return [start + int(np.round(segment * index)) for index in range(count)]


def benchmark_of_pllava(
    frames: int, count: int, fps: float, bound: tuple[float, float] | None = None
) -> list[int]:
    start, end = bound or (-100000, 100000)
    first, last = max(0, round(start * fps)), min(round(end * fps), frames - 1)
    segment = float(last - first) / count
    return [int(first + (segment / 2) + np.round(segment * index)) for index in range(count)]


def training_of_pllava(
    frames: int, count: int, fps: float, bound: tuple[float, float] | None = None
) -> list[int]:
    length, behind = frames, 0
    if bound:
        length, behind = int((bound[1] - bound[0]) * fps), int(bound[0] * fps)
    bounds = np.linspace(start=0, stop=length, num=min(count, length) + 1).astype(int)
    ranges = [(low, bounds[index + 1] - 1) for index, low in enumerate(bounds[:-1])]
    found = [int(low + high) // 2 for low, high in ranges]
    return [behind + index for index in found + [found[-1]] * (count - len(found))]


def qwen(frames: int, fps: float, bound: tuple[float, float] | None = None) -> list[int]:
    first, last = 0, frames - 1
    if bound:
        longest = frames / fps
        first = math.ceil(max(0.0, min(bound[0], longest)) * fps)
        last = min(math.floor(max(0.0, min(bound[1], longest)) * fps), frames - 1)
        frames = last - first + 1
    fewest, most = math.ceil(4 / 2) * 2, math.floor(min(768, frames) / 2) * 2
    wanted = min(min(max(frames / fps * 2.0, fewest), most), frames)
    count = math.floor(wanted / 2) * 2
    assert 2 <= count <= frames
    return torch.linspace(first, last, count).round().long().tolist()  # type: ignore[no-any-return]


LENGTHS = [*range(1, 140), 161, 240, 241, 255, 300, 361, 719, 720, 1001, 1799, 1800, 5401, 17982, 100_001]
RATES = [8.0, 12.5, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 59.94005994, 60.0]


@pytest.mark.parametrize("count", [1, 3, 4, 6, 8, 16, 17, 64])
def test_pllavas_demo_and_its_benchmarks_take_one_and_the_same_frames_of_whole_clips(count: int) -> None:
    policy = Uniform(count=count, compat="published")
    for frames in LENGTHS:
        ours = frame_indices(policy, frames=frames, fps=25.0)
        assert list(ours) == demo_of_pllava(frames, count) == benchmark_of_pllava(frames, count, 25.0)


def test_pllavas_rule_in_numbers() -> None:
    """Worked out by hand from s = 99 / 16 = 6.1875; 18.5625 rounds up, 49.5 and 24.75 as well."""
    assert frame_indices(BENCHMARK, frames=100, fps=30.0) == (
        3, 9, 15, 22, 28, 34, 40, 46, 53, 59, 65, 71, 77, 83, 90, 96,
    )  # fmt: skip
    # With 2.5 between two frames a half is rounded to even: 2.5 to 2, and 7.5 to 8.
    assert frame_indices(BENCHMARK, frames=41, fps=30.0)[:4] == (1, 3, 6, 9)


@pytest.mark.parametrize("count", [1, 4, 16, 17])
def test_pllavas_training_rule(count: int) -> None:
    policy = Uniform(count=count, compat="published_train")
    for frames in LENGTHS:
        expected = training_of_pllava(frames, count, 25.0)
        assert list(frame_indices(policy, frames=frames, fps=25.0)) == expected
    if count == 16:
        differ = [n for n in LENGTHS if training_of_pllava(n, 16, 25.0) != demo_of_pllava(n, 16)]
        assert len(differ) > 100, "the two rules would not have to be told apart"


@pytest.mark.parametrize("fps", RATES)
def test_qwens_rule(fps: float) -> None:
    for frames in LENGTHS[1:]:
        assert list(frame_indices(QWEN, frames=frames, fps=fps)) == qwen(frames, fps), (frames, fps)


def test_qwens_rule_in_films_so_long_that_the_rounding_of_32_bit_floats_shows() -> None:
    draw = random.Random(0)
    differ = 0
    for frames in (draw.randint(50_000, 300_000) for _ in range(40)):
        theirs = qwen(frames, 25.0)
        assert list(frame_indices(QWEN, frames=frames, fps=25.0)) == theirs
        differ += np.rint(np.linspace(0, frames - 1, len(theirs))).tolist() != theirs
    assert differ > 20, "64 bits would do as well"


def test_five_and_a_half_seconds_are_ten_frames_and_not_eleven() -> None:
    indices = frame_indices(QWEN, frames=165, fps=30.0)
    assert len(indices) == 10
    assert (indices[0], indices[-1]) == (0, 164)
    assert len(frame_indices(Every(rate=2, cap=768, at="endpoints", least=4), frames=165, fps=30.0)) == 11


def test_qwen_takes_no_more_pairs_than_there_are_and_four_frames_of_the_shortest_clips() -> None:
    assert frame_indices(QWEN, frames=1, fps=30.0) == (0,)
    assert frame_indices(QWEN, frames=3, fps=30.0) == (0, 2)
    assert len(frame_indices(QWEN, frames=20, fps=30.0)) == 4
    assert len(frame_indices(QWEN, frames=100_000, fps=30.0)) == 768


PARTS = [(0.0, 2.0), (1.3, 4.77), (2.02, 3.98), (0.5, 9.99), (3.0, 500.0)]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fps", [24.0, 25.0, 30000 / 1001])
def test_of_a_part_of_a_clip_too(part: tuple[float, float], fps: float) -> None:
    frames = 250
    start, end = part
    if start == 0:
        assert frame_indices(QWEN, frames=frames, fps=fps, end_s=end) == tuple(qwen(frames, fps, part))
    ours = [
        list(frame_indices(policy, frames=frames, fps=fps, start_s=start, end_s=end))
        for policy in (BENCHMARK, QWEN, TRAINING)
    ]
    assert ours[0] == benchmark_of_pllava(frames, 16, fps, part)
    assert ours[1] == qwen(frames, fps, part)
    if end < frames / fps:  # the original reads behind the end of the file, and fails
        assert ours[2] == training_of_pllava(frames, 16, fps, part)
    assert max(ours[2]) < frames


def test_policies_that_choose_moments_name_the_frames_shown_then() -> None:
    assert frame_indices(Uniform(count=4, at="endpoints"), frames=250, fps=25.0) == (0, 83, 166, 249)
    assert frame_indices(Uniform(count=2), frames=10, fps=30000 / 1001) == (2, 7)
    assert frame_indices(Every(rate=1, cap=9), frames=75, fps=25.0) == (0, 25, 50)
    assert frame_indices(Times(times=(0.04, 0.039, 99.0)), frames=5, fps=25.0) == (1, 0, 4)


@pytest.mark.parametrize(("frames", "fps"), [(0, 25.0), (5, 0.0), (5, math.inf), (5, math.nan)])
def test_impossible_files_are_refused(frames: int, fps: float) -> None:
    with pytest.raises(ConfigError, match="above zero"):
        frame_indices(BENCHMARK, frames=frames, fps=fps)


def test_key_frames_and_absent_parts_are_refused() -> None:
    with pytest.raises(ConfigError, match="only a file tells"):
        frame_indices(Keyframes(), frames=9, fps=25.0)
    with pytest.raises(BrokenClip, match="cannot start"):
        frame_indices(BENCHMARK, frames=50, fps=25.0, start_s=2.0)


@pytest.mark.parametrize(
    "data",
    [
        {"policy": "uniform", "at": "endpoints", "compat": "published"},
        {"policy": "uniform", "pad": False, "compat": "published_train"},
        {"policy": "uniform", "compat": "publisehd"},
        {"policy": "every", "at": "midpoints", "compat": "published"},
        {"policy": "every", "at": "endpoints", "cap": 1, "compat": "published"},
        {"policy": "every", "at": "endpoints", "compat": "published_train"},
    ],
)
def test_what_does_not_go_together_is_refused(data: dict[str, object]) -> None:
    adapter: TypeAdapter[Policy] = TypeAdapter(Policy)
    with pytest.raises(ValidationError):
        adapter.validate_python(data)


# --- in files --------------------------------------------------------------------------------------------


def film(path: Path, shown_s: Sequence[float]) -> Path:
    """Write frames of which the n-th is of grey 3 n, shown at given moments."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"qp": "4", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90000)
        for number, moment in enumerate(shown_s):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 3 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(moment * 90000), Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers_seen(path: Path, policy: Policy, **part: float) -> list[int]:
    pixels = decode(Clip("c", path, **part), policy).pixels
    return [round(float(frame.mean()) / 3) for frame in pixels]


EVEN = [index / 25 for index in range(60)]
NTSC = [index * 1001 / 30000 for index in range(60)]
PAUSE = [index / 25 + (4.0 if index > 20 else 0.0) for index in range(60)]
UNEVEN = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.2, 60)).tolist()


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("shown_s", [EVEN, NTSC, PAUSE, UNEVEN], ids=["even", "ntsc", "pause", "uneven"])
def test_the_frames_decoded_are_those_named(tmp_path: Path, shown_s: list[float], ending: str) -> None:
    path = film(tmp_path / f"clip.{ending}", shown_s)
    assert numbers_seen(path, BENCHMARK) == demo_of_pllava(60, 16)
    assert numbers_seen(path, TRAINING) == training_of_pllava(60, 16, 25.0)
    seen = numbers_seen(path, QWEN)
    assert len(seen) % 2 == 0
    assert seen == torch.linspace(0, 59, len(seen)).round().long().tolist()


def test_moments_would_name_other_frames_of_an_uneven_file(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", PAUSE)
    assert numbers_seen(path, Uniform(count=16)) != demo_of_pllava(60, 16)


def test_a_part_of_a_file(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", EVEN)
    assert numbers_seen(path, BENCHMARK, start_s=0.6, end_s=1.73) == benchmark_of_pllava(
        60, 16, 25.0, (0.6, 1.73)
    )


def test_pictures_of_a_folder_and_a_still(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for number in range(21):
        picture = np.full((8, 8, 3), 3 * number, np.uint8)
        Image.fromarray(picture).save(tmp_path / "folder" / f"{number:03}.png")
    assert numbers_seen(tmp_path / "folder", BENCHMARK) == demo_of_pllava(21, 16)
    still = tmp_path / "folder" / "007.png"
    assert numbers_seen(still, BENCHMARK) == [7] * 16
    assert numbers_seen(still, QWEN) == [7]


# --- Qwen3-VL --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", RATES)
def test_qwen3_vls_processor_takes_the_same_frames(fps: float) -> None:
    policy = Every(rate=2, cap=768, least=4, at="endpoints", compat="published_evenly")
    told = SimpleNamespace(fps=2, min_frames=4, max_frames=768, num_frames=None)
    for frames in LENGTHS:
        known = VideoMetadata(total_num_frames=frames, fps=fps)
        theirs = Qwen3VLVideoProcessor.sample_frames(told, known)
        assert list(frame_indices(policy, frames=frames, fps=fps)) == theirs.tolist()


def test_it_takes_odd_numbers_of_frames_and_stays_within_a_part() -> None:
    policy = Every(rate=2, cap=768, least=4, at="endpoints", compat="published_evenly")
    assert frame_indices(policy, frames=50, fps=20.0) == (0, 12, 24, 37, 49)
    assert frame_indices(policy, frames=50, fps=20.0, start_s=1.0, end_s=2.0) == (20, 27, 33, 40)
    assert frame_indices(policy, frames=3, fps=20.0) == (0, 1, 2)
    assert frame_indices(policy, frames=1, fps=20.0) == (0,)
