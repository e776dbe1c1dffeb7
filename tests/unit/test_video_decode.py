"""Probing, decoding and writing clips of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vidapt.errors import BrokenClip, ConfigError
from vidapt.nouns import Clip, Frames
from vidapt.video import Every, Keyframes, Limits, Policy, Times, Uniform, decode, probe, write_mp4
from vidapt.video.bursts import in_bursts
from vidapt.video.pick import Shown


def grey(levels: list[int], height: int = 48, width: int = 64) -> np.ndarray:
    """Frames of one even grey each, which survive coding almost unchanged."""
    return np.stack([np.full((height, width, 3), level, np.uint8) for level in levels])


def levels(frames: Frames) -> list[int]:
    """The grey of each frame, to the nearest multiple of ten."""
    return [round(float(picture.mean()) / 10) * 10 for picture in frames.pixels]


def take(path: Path, policy: Policy, **more: object) -> Frames:
    return decode(Clip("clip", path), policy, **more)  # type: ignore[arg-type]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames at 5 per second, the n-th of grey 20 n."""
    path = tmp_path / "video.mp4"
    write_mp4(path, grey(list(range(0, 200, 20))), 5, gop=4)
    return path


def test_probe_tells_what_a_video_is(video: Path) -> None:
    found = probe(video)
    assert (found.kind, found.codec, found.width, found.height, found.rotation) == (
        "video",
        "h264",
        64,
        48,
        0,
    )
    assert (found.duration_s, found.rate, found.frames, found.estimated) == (2.0, 5.0, 10, False)


@pytest.mark.parametrize(
    ("container", "codec"), [("matroska", "libx264"), ("mpegts", "libx264"), ("h264", "libx264")]
)
def test_probe_finds_the_duration_where_headers_do_not_count(
    tmp_path: Path, container: str, codec: str
) -> None:
    path = tmp_path / "clip.bin"
    with av.open(path, "w", format=container) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index, pixels in enumerate(grey([100] * 50)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert probe(path).duration_s == pytest.approx(2.0)
    assert probe(path).frames == 50


def test_the_frame_shown_at_a_moment_is_returned_with_its_own_time(video: Path) -> None:
    frames = take(video, Times(times=(0.99, 0.0, 1.0, 99.0)))
    assert levels(frames) == [80, 0, 100, 180]
    assert frames.times_s == pytest.approx([0.8, 0.0, 1.0, 1.8])
    assert frames.notes == ()


def test_a_part_of_a_clip_is_decoded(video: Path) -> None:
    frames = decode(Clip("part", video, 0.4, 1.2), Uniform(count=2))
    assert levels(frames) == [60, 100]


def test_key_frames_are_found_and_thinned(video: Path) -> None:
    assert levels(take(video, Keyframes())) == [0, 80, 160]
    assert levels(take(video, Keyframes(cap=2))) == [0, 160]
    assert levels(decode(Clip("part", video, 0.1, 0.3), Keyframes())) == [0]


def test_frames_are_resized_while_decoding(video: Path) -> None:
    assert take(video, Uniform(count=3), size=(30, 50)).pixels.shape == (3, 30, 50, 3)
    assert levels(take(video, Uniform(count=5), size=(20, 20))) == [20, 60, 100, 140, 180]


def test_a_turned_video_is_resized_after_turning(tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[:, 32:] = 255  # the right half, which a quarter turn to the left brings to the top
        out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    shown = take(path, Uniform(count=1), size=(40, 20)).pixels[0]
    assert shown.shape == (40, 20, 3)
    assert shown[:18].mean() > 240
    assert shown[22:].mean() < 15


def test_stills_become_clips(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.webp", "a.bmp"):
        path = tmp_path / name
        Image.fromarray(grey([120])[0]).save(path)
        assert probe(path).kind == "still"
        assert levels(take(path, Uniform(count=3))) == [120, 120, 120]
        assert levels(take(path, Uniform(count=3, pad=False))) == [120]
        assert levels(take(path, Keyframes())) == [120]


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey([50])[0]).save(path, exif=exif)
    found = probe(path)
    assert (found.width, found.height) == (48, 64)
    assert take(path, Uniform(count=1)).pixels.shape == (1, 64, 48, 3)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_keep_their_own_time(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving{suffix}"
    first, *others = [Image.fromarray(picture) for picture in grey([0, 100, 200])]
    first.save(path, save_all=True, append_images=others, duration=[100, 400, 500], lossless=True)
    found = probe(path)
    assert (found.kind, found.frames, found.duration_s) == ("animation", 3, 1.0)
    assert levels(take(path, Times(times=(0.0, 0.1, 0.49, 0.6)))) == [0, 100, 100, 200]


def test_a_folder_of_pictures_is_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        Image.fromarray(grey([number * 20])[0]).save(tmp_path / f"frame_{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    found = probe(tmp_path)
    assert (found.kind, found.frames) == ("folder", 3)
    assert levels(take(tmp_path, Uniform(count=3))) == [20, 180, 200]
    assert levels(take(tmp_path, Every(rate=1))) == [20, 180, 200]


def test_pictures_of_a_folder_are_brought_to_the_size_of_the_first(tmp_path: Path) -> None:
    Image.fromarray(grey([50])[0]).save(tmp_path / "1.png")
    Image.fromarray(grey([90], 100, 30)[0]).save(tmp_path / "2.png")
    frames = take(tmp_path, Uniform(count=2))
    assert frames.pixels.shape == (2, 48, 64, 3)
    assert levels(frames) == [50, 90]


def test_written_clips_come_back(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    tiles = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 3), np.uint8)
    frames = tiles.repeat(16, 1).repeat(16, 2)
    write_mp4(path, frames, Fraction(30000, 1001), crf=1)
    found = probe(path)
    assert (found.frames, found.width, found.height) == (7, 96, 64)
    assert found.rate == pytest.approx(29.97, abs=1e-3)
    back = take(path, Uniform(count=7)).pixels
    assert abs(back.astype(int) - frames).mean() < 3


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, grey([10, 20, 30]), 8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_odd_sides_are_extended_by_a_pixel(tmp_path: Path) -> None:
    write_mp4(tmp_path / "odd.mp4", grey([10, 20], 31, 33), 8)
    assert take(tmp_path / "odd.mp4", Uniform(count=2)).pixels.shape == (2, 32, 34, 3)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.mp4"
    write_mp4(path, grey([10]), 8)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("av.VideoFrame.from_ndarray", full)
    with pytest.raises(OSError, match="No space left"):
        write_mp4(path, grey([90]), 8)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("frames", "rate"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), 5),
        (np.zeros((2, 8, 8), np.uint8), 5),
        (np.zeros((2, 8, 8, 3), np.float32), 5),
        (np.zeros((2, 8, 8, 3), np.uint8), 0),
    ],
)
def test_what_is_no_clip_is_not_written(tmp_path: Path, frames: np.ndarray, rate: float) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_mp4(tmp_path / "clip.mp4", frames, rate)
    assert list(tmp_path.iterdir()) == []


def test_more_frames_than_the_limit_are_refused(video: Path) -> None:
    with pytest.raises(BrokenClip, match="30 frames are wanted"):
        take(video, Uniform(count=30), limits=Limits(frames=20))


@pytest.mark.parametrize("held", [0, 2 * 48 * 64, 2**24])
def test_how_many_pictures_are_held_changes_nothing(
    video: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr("vidapt.video.bursts.HELD_PIXELS", held)
    frames = take(video, Times(times=(1.8, 0.0, 1.0, 1.0, 0.3)))
    assert levels(frames) == [180, 0, 100, 100, 20]


def test_no_more_pictures_are_held_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidapt.video.bursts.HELD_PIXELS", 3 * 48 * 64)
    decoded = 0

    def pictures() -> Iterator[Shown]:
        nonlocal decoded
        for row in range(8):
            decoded += 1
            yield Shown((row,), float(row), av.VideoFrame(64, 48, "yuv420p"))

    ahead = [(shown.rows[0], decoded - shown.rows[0]) for shown in in_bursts(pictures())]
    assert ahead == [(0, 3), (1, 2), (2, 1), (3, 3), (4, 2), (5, 1), (6, 2), (7, 1)]
