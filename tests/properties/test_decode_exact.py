"""Whatever a file is like, decoding a few moments gives what decoding all of it gives."""

from __future__ import annotations

import io
from bisect import bisect_right
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from vidapt.nouns import Clip
from vidapt.video import Every, Times, Uniform, choose, decode, probe

FFMPEGS = Interpolation.BICUBIC
"""What FFmpeg's tools convert with; PyAV's default differs where a height is odd."""

exactness = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Encoding:
    """How a clip of moving noise is written."""

    codec: str
    container: str
    stamps: tuple[int, ...]  # moments of the frames, in hundredths of a second
    options: dict[str, str] = field(default_factory=dict)
    cut: int = 0  # hundredths of a second before zero at which the frames begin
    keys_lost: int = 0  # groups of pictures left out at the start, as copying a part of a file does
    rotation: int = 0
    size: tuple[int, int] = (48, 64)
    time_base: Fraction = Fraction(1, 100)

    def write(self, path: Path, seed: int) -> bool:
        """Write the file and say whether there is anything in it."""
        buffer = io.BytesIO()
        muxing = {"avoid_negative_ts": "disabled"} if self.cut else {}
        keys = 0
        with av.open(buffer, "w", format=self.container, options=muxing) as container:
            stream = container.add_stream(self.codec, rate=25, options=self.options)
            stream.height, stream.width = self.size
            stream.pix_fmt = "yuvj420p" if self.codec == "mjpeg" else "yuv420p"
            stream.codec_context.thread_count = 1
            stream.codec_context.time_base = self.time_base
            if self.rotation:
                stream.set_display_rotation(self.rotation)
            for frame in [*self._frames(seed), None]:
                for packet in stream.encode(frame):
                    keys += packet.is_keyframe
                    if keys <= self.keys_lost:
                        continue
                    shift = round(Fraction(self.cut, 100) / packet.time_base)
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    container.mux(packet)
        path.write_bytes(buffer.getvalue())
        return keys > self.keys_lost

    def _frames(self, seed: int) -> list[av.VideoFrame]:
        rng = np.random.default_rng(seed)
        base = rng.integers(0, 200, (*self.size, 3), dtype=np.uint8)
        frames = []
        for index, stamp in enumerate(self.stamps):
            pixels = np.roll(base, (index, 2 * index), (0, 1)) + rng.integers(0, 40, base.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = stamp if self.time_base.denominator == 100 else index
            frame.time_base = self.time_base
            frames.append(frame)
        return frames


def plainly(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Moments and pictures of a full decode, straight from PyAV."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        pixels = [
            np.rot90(f.to_ndarray(format="rgb24", interpolation=FFMPEGS), f.rotation // 90) for f in frames
        ]
        if frames and frames[0].pts is None:  # no container, no clock: the frames are equally spaced
            return [float(index / stream.average_rate) for index in range(len(frames))], pixels
        ticks = sorted(frame.pts for frame in frames)  # AVI stamps reordered H.264 in decoding order
        return [float((tick - ticks[0]) * stream.time_base) for tick in ticks], pixels


def check(path: Path, times: list[float]) -> None:
    """Compare a few moments of a file with its full decode."""
    stamps, pixels = plainly(path)
    if not pixels:  # everything was cut off
        return
    frames = decode(Clip("clip", path), Times(times=tuple(times)))
    for moment, shown_s, shown in zip(times, frames.times_s, frames.pixels, strict=True):
        at = bisect_right(stamps, moment + 1e-6) - 1
        assert abs(shown_s - stamps[at]) < 1e-6
        assert np.array_equal(shown, pixels[at])


moments = st.lists(st.floats(0, 15, allow_nan=False), min_size=1, max_size=6)


@st.composite
def steady(draw: st.DrawFn) -> tuple[int, ...]:
    """Frames at an even pace, some clips shorter and some longer than a seek is worth."""
    count, step = draw(st.integers(1, 80)), draw(st.sampled_from([4, 8, 20]))
    return tuple(range(0, count * step, step))


@st.composite
def uneven(draw: st.DrawFn) -> tuple[int, ...]:
    """Frames whose distances vary between 10 ms and 0.6 s."""
    steps = draw(st.lists(st.integers(1, 60), max_size=60))
    return tuple(np.cumsum([0, *steps]).tolist())


@st.composite
def x264(draw: st.DrawFn) -> dict[str, str]:
    refresh = draw(st.sampled_from([0, 0, 0, 1]))
    params = {
        "keyint": draw(st.integers(1, 60)),
        "min-keyint": 1,
        "bframes": draw(st.integers(0, 4)),
        "b-adapt": 0,
        "b-pyramid": draw(st.sampled_from(["none", "strict", "normal"])),
        "ref": draw(st.integers(1, 4)),
        "open-gop": 0 if refresh else draw(st.integers(0, 1)),
        "intra-refresh": refresh,
        "interlaced": draw(st.sampled_from([0, 0, 0, 1])),
        "scenecut": 0,
        "crf": 40,
    }
    text = ":".join(f"{name}={value}" for name, value in params.items())
    return {"preset": "ultrafast", "x264-params": text}


@st.composite
def simple(draw: st.DrawFn, most_b_frames: int = 3) -> dict[str, str]:
    return {"g": str(draw(st.integers(1, 40))), "bf": str(draw(st.integers(0, most_b_frames)))}


@st.composite
def vpx(draw: st.DrawFn) -> dict[str, str]:
    return {
        "g": str(draw(st.integers(1, 40))),
        "deadline": "realtime",
        "cpu-used": "8",
        "auto-alt-ref": draw(st.sampled_from("01")),
        "lag-in-frames": draw(st.sampled_from(["0", "8"])),
    }


def of(
    codec: str,
    container: str,
    options: st.SearchStrategy[dict[str, str]],
    stamps: st.SearchStrategy[tuple[int, ...]] | None = None,
    **more: st.SearchStrategy[Any],
) -> st.SearchStrategy[Encoding]:
    times = steady() | uneven() if stamps is None else stamps
    return st.builds(Encoding, st.just(codec), st.just(container), times, options, **more)


on_a_grid = {"stamps": steady(), "time_base": st.just(Fraction(1, 25))}

FILES: dict[str, st.SearchStrategy[Encoding]] = {
    "h264.mp4": of("libx264", "mp4", x264(), cut=st.sampled_from([0, 20, 130])),
    "h264.mov": of("libx264", "mov", x264()),
    "h264.mkv": of("libx264", "matroska", x264()),
    "h264.ts": of("libx264", "mpegts", x264()),
    "h264.avi": of("libx264", "avi", simple(), **on_a_grid),
    "h264.asf": of("libx264", "asf", simple(), **on_a_grid),
    "h264 copied.mkv": of("libx264", "matroska", x264(), keys_lost=st.integers(1, 2)),
    "h264 copied.ts": of("libx264", "mpegts", x264(), keys_lost=st.integers(1, 2)),
    "raw.h264": of("libx264", "h264", simple(), **on_a_grid),
    "vp9.webm": of("libvpx-vp9", "webm", vpx()),
    "vp8.webm": of("libvpx", "webm", vpx()),
    "mpeg4.avi": of("mpeg4", "avi", simple(), **on_a_grid),
    "mpeg4.mp4": of("mpeg4", "mp4", simple()),
    "mpeg2.ts": of("mpeg2video", "mpegts", simple()),
    "mjpeg.avi": of("mjpeg", "avi", st.just({}), **on_a_grid),
    "mpeg2 copied.ts": of("mpeg2video", "mpegts", simple(), keys_lost=st.integers(1, 2)),
    "flv1.flv": of("flv", "flv", simple(0)),
}


@pytest.mark.parametrize("name", FILES)
@exactness
@given(data=st.data())
def test_a_few_moments_equal_a_full_decode(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = tmp_path / name
    assume(data.draw(FILES[name]).write(path, data.draw(st.integers(0, 9))))
    check(path, data.draw(moments))


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_video_is_shown_upright_and_exact(tmp_path: Path, rotation: int) -> None:
    path = tmp_path / "turned.mp4"
    options = {"preset": "ultrafast", "g": "10", "bf": "2"}
    Encoding("libx264", "mp4", tuple(range(0, 200, 4)), options, rotation=rotation).write(path, 0)
    check(path, [0.0, 0.5, 1.99])
    found = probe(path)
    assert (found.width, found.height) == ((64, 48) if rotation == 180 else (48, 64))
    assert found.rotation == rotation % 360


@exactness
@given(size=st.tuples(st.integers(2, 70), st.integers(16, 70)), seed=st.integers(0, 9))
def test_odd_sizes_are_exact(tmp_path: Path, size: tuple[int, int], seed: int) -> None:
    path = tmp_path / "odd.webm"
    options = {"g": "5", "deadline": "realtime", "cpu-used": "8"}
    Encoding("libvpx-vp9", "webm", tuple(range(0, 40, 4)), options, size=size).write(path, seed)
    check(path, [0.0, 0.21])


@exactness
@given(
    count=st.integers(1, 40),
    at=st.sampled_from(["midpoints", "endpoints"]),
    stamps=steady(),
    start_s=st.floats(0, 0.03),
)
def test_uniform_gives_exactly_count_frames(
    tmp_path: Path, count: int, at: Any, stamps: tuple[int, ...], start_s: float
) -> None:
    path = tmp_path / "clip.mp4"
    Encoding("libx264", "mp4", stamps, {"preset": "ultrafast", "g": "12"}).write(path, 0)
    frames = decode(Clip("clip", path, start_s), Uniform(count=count, at=at))
    assert frames.pixels.shape == (count, 48, 64, 3)
    assert frames.times_s.shape == (count,)
    assert (np.diff(frames.times_s) >= 0).all()
    if at == "endpoints" and count > 1:
        assert frames.times_s[-1] == pytest.approx(stamps[-1] / 100)


@exactness
@given(rate=st.floats(0.2, 30), cap=st.integers(1, 20), stamps=steady())
def test_every_keeps_to_its_cap(tmp_path: Path, rate: float, cap: int, stamps: tuple[int, ...]) -> None:
    path = tmp_path / "clip.mp4"
    Encoding("libx264", "mp4", stamps, {"preset": "ultrafast"}).write(path, 0)
    policy = Every(rate=rate, cap=cap)
    times = choose(policy, probe(path))
    assert 1 <= len(times) <= cap
    assert len(decode(Clip("clip", path), policy)) == len(times)
