"""Files whose packets do not tell when the first picture is shown, or in which order the others are."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vidapt.nouns import Clip
from vidapt.video import DEFAULT, Keyframes, Times, decode, probe, runs
from vidapt.video.container import opened
from vidapt.video.order import first_shown
from vidapt.video.pick import Findings, pick

RATE = 25
COUNT = 60

X264 = "keyint=12:min-keyint=1:scenecut=0:bframes=3:b-adapt=0:crf=40"
X265 = "log-level=none:pools=1:frame-threads=1:keyint=12:min-keyint=1:scenecut=0:bframes=3:b-adapt=0"
CODERS = {
    "h264": ("libx264", {"preset": "ultrafast", "x264-params": f"{X264}:open-gop=1"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": f"{X265}:open-gop=1"}),
    "mpeg2": ("mpeg2video", {"g": "12", "bf": "2"}),
    "closed": ("libx264", {"preset": "ultrafast", "x264-params": X264}),
    "mpeg2 closed": ("mpeg2video", {"g": "12", "bf": "2", "flags": "+cgop", "sc_threshold": "1000000000"}),
    "mpeg2 without B": ("mpeg2video", {"g": "12", "bf": "0"}),
}


def film(path: Path, container: str, coder: str) -> None:
    """Write moving noise."""
    codec, options = CODERS[coder]
    rng = np.random.default_rng(0)
    base = rng.integers(0, 200, (48, 64, 3), dtype=np.uint8)
    with av.open(path, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(COUNT):
            pixels = np.roll(base, (index, 2 * index), (0, 1)) + rng.integers(0, 40, base.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def film_from_second_key_frame(
    path: Path,
    container: str,
    coder: str,
    muxing: dict[str, str],
    change: Callable[[bytes], bytes] | None = None,
) -> None:
    """Copy what follows the second key frame of a film, as cutting without encoding anew does."""
    whole = path.with_name("whole")
    film(whole, container, coder)
    with av.open(whole) as source, av.open(path, "w", format=container, options=muxing) as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        keys, start = 0, None
        for packet in source.demux(stream):
            keys += packet.is_keyframe
            if keys < 2 or not packet.size:
                continue
            start = packet.dts if start is None else start
            changed = av.Packet(change(bytes(packet)) if change else bytes(packet))
            changed.pts, changed.dts = packet.pts - start, packet.dts - start
            changed.stream, changed.time_base = copy, packet.time_base
            changed.duration, changed.is_keyframe = packet.duration, packet.is_keyframe
            out.mux(changed)


@dataclass
class Whole:
    """A full decode, straight from PyAV: moments since the first frame, and pictures."""

    moments: list[float]
    pixels: list[np.ndarray]
    keys: list[float]

    @classmethod
    def of(cls, path: Path) -> Whole:
        with av.open(path) as container:
            stream = container.streams.video[0]
            frames = list(container.decode(stream))
            moments = [float((frame.pts - frames[0].pts) * stream.time_base) for frame in frames]
            keys = [moment for moment, frame in zip(moments, frames, strict=True) if frame.key_frame]
            return cls(moments, [frame.to_ndarray(format="rgb24") for frame in frames], keys)

    def check(self, path: Path, times: tuple[float, ...]) -> None:
        frames = decode(Clip("clip", path), Times(times=times))
        assert frames.notes == ()
        for moment, shown_s, shown in zip(times, frames.times_s, frames.pixels, strict=True):
            at = bisect_right(self.moments, moment + 1e-6) - 1
            assert shown_s == pytest.approx(self.moments[at], abs=1e-6)
            assert np.array_equal(shown, self.pixels[at])


def stamps_of(path: Path) -> list[int]:
    """Presentation times of all packets in decoding order, those the container hides left out."""
    with av.open(path) as container:
        return [packet.pts for packet in container.demux(video=0) if packet.size and not packet.is_discard]


def why_plain(path: Path, times: list[float]) -> str:
    """Why the whole file had to be decoded, if it had to."""
    findings = Findings()
    with opened(path, DEFAULT, look=False) as source:
        list(pick(source, times, findings))
    return findings.plain


CUTS = {
    **{
        f"{coder} {container}": (coder, container, {})
        for coder in ("h264", "hevc", "mpeg2")
        for container in ("matroska", "mpegts")
    },
    "h264 mp4 without edit list": ("h264", "mp4", {"use_editlist": "0"}),
}


@pytest.mark.parametrize("name", CUTS)
def test_leading_pictures_that_cannot_be_decoded_do_not_move_the_clock(tmp_path: Path, name: str) -> None:
    coder, container, muxing = CUTS[name]
    path = tmp_path / "clip"
    film_from_second_key_frame(path, container, coder, muxing)
    stamps, whole = stamps_of(path), Whole.of(path)
    assert min(stamps) < stamps[0]  # pictures are stamped before the first key frame,
    assert len(whole.pixels) < len(stamps)  # and the decoder drops them
    last = whole.moments[-1]
    for moment in [0.0, 0.03, 0.04, 0.5, 0.99, 1.0, last]:
        whole.check(path, (moment,))
    whole.check(path, (0.0, 1.0))
    whole.check(path, tuple(whole.moments))
    if container != "matroska":  # it keeps no decoding times, and FFmpeg guesses them wrongly at a cut
        assert why_plain(path, [1.0]) == ""


@pytest.mark.parametrize("name", CUTS)
def test_key_frames_and_length_of_cut_footage_count_from_its_first_frame(tmp_path: Path, name: str) -> None:
    coder, container, muxing = CUTS[name]
    path = tmp_path / "clip"
    film_from_second_key_frame(path, container, coder, muxing)
    whole = Whole.of(path)
    frames = decode(Clip("clip", path), Keyframes())
    assert frames.times_s == pytest.approx(whole.keys, abs=1e-6)
    for moment, shown in zip(whole.keys, frames.pixels, strict=True):
        assert np.array_equal(shown, whole.pixels[whole.moments.index(moment)])
    if container == "mpegts":  # no header tells
        found = probe(path)
        assert found.duration_s == pytest.approx(len(whole.pixels) / RATE)
        assert found.frames == len(whole.pixels)


def closed(data: bytes) -> bytes:
    """Say in a group's header that its pictures need none before it (ISO 13818-2 6.2.2.6)."""
    header = data.find(b"\x00\x00\x01\xb8")
    if header < 0:
        return data
    return data[: header + 7] + bytes([data[header + 7] | 0x40]) + data[header + 8 :]


def test_leading_pictures_that_can_be_decoded_start_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    film_from_second_key_frame(path, "mpegts", "mpeg2", {}, closed)
    stamps, whole = stamps_of(path), Whole.of(path)
    assert min(stamps) < stamps[0]
    assert len(whole.pixels) == len(stamps)  # none is dropped
    with opened(path, DEFAULT) as source:
        assert first_shown(source) == min(stamps)
    for moment in whole.moments:
        whole.check(path, (moment,))


@pytest.mark.parametrize("container", ["matroska", "mpegts", "mp4"])
@pytest.mark.parametrize("coder", ["closed", "mpeg2 closed", "h264", "hevc"])
def test_footage_that_starts_at_its_start_is_not_decoded_to_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coder: str, container: str
) -> None:
    def asked(_: object) -> None:
        raise AssertionError("the decoder was asked when the first picture is shown")

    monkeypatch.setattr(runs, "first_shown", asked)
    path = tmp_path / "clip"
    film(path, container, coder)
    assert why_plain(path, [0.0, 1.0]) == ""


@pytest.mark.parametrize(
    ("coder", "container"),
    [("closed", "asf"), ("h264", "asf"), ("closed", "avi"), ("h264", "avi"), ("mpeg2 closed", "asf")],
)
def test_pictures_stamped_in_decoding_order_are_shown_in_theirs(
    tmp_path: Path, coder: str, container: str
) -> None:
    path = tmp_path / "clip"
    film(path, container, coder)
    stamps, whole = stamps_of(path), Whole.of(path)
    assert stamps == sorted(stamps)
    assert whole.moments != sorted(whole.moments)  # frames come out with stamps that fall
    assert len(whole.pixels) == len(stamps)
    with av.open(path) as opened_again:
        base = opened_again.streams.video[0].time_base
    whole.moments = [float((stamp - stamps[0]) * base) for stamp in stamps]
    for moment in whole.moments:
        whole.check(path, (moment,))
    whole.check(path, tuple(whole.moments))


def test_stamps_that_rise_with_nothing_reordered_are_trusted(tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    film(path, "mpegts", "mpeg2 without B")
    with opened(path, DEFAULT) as source:
        assert source.stream.codec_context.has_b_frames  # its decoder is ready to reorder
    assert why_plain(path, [0.3, 1.0, 1.5]) == ""
    Whole.of(path).check(path, (0.3, 1.0, 1.5))


def test_a_transport_stream_that_announces_new_streams_on_its_way_is_read(tmp_path: Path) -> None:
    """PyAV raises IndexError at the end of such a file."""
    path = tmp_path / "growing.ts"
    noise = np.random.default_rng(0).integers(0, 256, (30, 320, 480, 1), np.uint8).repeat(3, axis=3)
    # FFmpeg looks for streams in the first 5 MB and in the last 250 kB: neither may show the new ones.
    path.write_bytes(
        transport(noise[:25], 1, 0) + transport(noise[25:], 26, 40) + transport(noise[:5], 31, 0)
    )
    with opened(path, DEFAULT) as source:
        assert len(source.container.streams) == 1
        with pytest.raises(IndexError):
            list(source.container.demux(source.stream))
    frames = decode(Clip("clip", path), Times(times=(0.0, 1.0, 5.0)))
    assert frames.notes == ()
    for shown, meant in zip(frames.pixels, (noise[0], noise[25], noise[4]), strict=True):
        assert abs(shown.astype(int) - meant).mean() < 10


def transport(pictures: np.ndarray, start: int, sounds: int) -> bytes:
    """A transport stream that announces `sounds` streams of sound and has none."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as out:
        stream = out.add_stream("mpeg2video", rate=RATE, options={"qmin": "1", "qmax": "1", "g": "1"})
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        for _ in range(sounds):
            out.add_stream("mp2", rate=16000, layout="mono")
        for index, picture in enumerate(pictures, start):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()
