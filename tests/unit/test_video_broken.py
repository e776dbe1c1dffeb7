"""Broken, hostile and oversized clips: each is refused with a reason, or used as far as it goes."""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip
from vidapt.video import Limits, Times, Uniform, decode, probe, write_mp4


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), np.uint8)


def refused(path: Path, reason: str, limits: Limits | None = None) -> None:
    """Both `probe` and `decode` refuse the clip and say why."""
    limits = limits or Limits()
    with pytest.raises(BrokenClip, match=reason) as caught:
        decode(Clip("clip", path), Uniform(count=4), limits=limits)
    assert caught.value.path == path
    with pytest.raises(BrokenClip, match=reason):
        probe(path, limits)


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.mp4", "no such file")
    refused(tmp_path / f"{'n' * 300}.mp4", "no such file")  # no file can have such a name


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "zero bytes")


@pytest.mark.parametrize(
    "content", [b"hello, this is a shopping list\n" * 99, np.random.default_rng(0).bytes(50_000)]
)
def test_not_a_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    refused(path, "cannot be opened as a video|holds no video|none of its frames")


@pytest.mark.parametrize(
    "content", ["#EXTM3U\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile real.mp4\n"]
)
def test_playlists_that_name_other_files_are_not_followed(tmp_path: Path, content: str) -> None:
    write_mp4(tmp_path / "real.mp4", noise(5), 5)
    (tmp_path / "list.mp4").write_text(content)
    refused(tmp_path / "list.mp4", "cannot be opened as a video")


def test_a_playlist_that_is_called_a_clip_makes_no_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/real.mp4"
        for text in (f"#EXTM3U\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n", f"ffconcat version 1.0\nfile {url}\n"):
            (tmp_path / "list.mp4").write_text(text)
            refused(tmp_path / "list.mp4", "cannot be opened as a video")
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_name_that_looks_like_a_protocol_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "concat:a|b.mp4"
    write_mp4(path, noise(5), 5)
    assert len(decode(Clip("clip", path), Uniform(count=2))) == 2


def test_audio_only(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    refused(path, "holds no video, only audio")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(tmp_path / "pipe.mp4", "not a regular file")


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no pictures here")
    refused(tmp_path, "holds no pictures")


@pytest.fixture
def streamable(tmp_path: Path) -> Path:
    """Forty frames of noise, 4 s, headers first."""
    path = tmp_path / "clip.mp4"
    write_mp4(path, noise(40), 10, gop=5)
    return path


def test_a_file_cut_off_late_is_used_and_said_to_be_cut(streamable: Path) -> None:
    whole = decode(Clip("clip", streamable), Uniform(count=8))
    data = streamable.read_bytes()
    streamable.write_bytes(data[: len(data) * 8 // 10])
    frames = decode(Clip("clip", streamable), Uniform(count=8))
    assert len(frames) == 8
    assert np.array_equal(frames.pixels[:6], whole.pixels[:6])
    assert "truncated" in frames.notes[0]


def test_a_file_of_which_less_than_half_is_left_is_refused(streamable: Path) -> None:
    data = streamable.read_bytes()
    streamable.write_bytes(data[: len(data) * 3 // 10])
    with pytest.raises(BrokenClip, match=r"truncated.* of the 8 moments are lost"):
        decode(Clip("clip", streamable), Uniform(count=8))


def test_a_file_cut_off_before_its_index_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in noise(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    path = tmp_path / "clip.mp4"
    path.write_bytes(buffer.getvalue()[:-200])
    refused(path, "cannot be opened as a video")


def test_damage_inside_is_survived_and_said(streamable: Path) -> None:
    whole = decode(Clip("clip", streamable), Uniform(count=8))
    data = bytearray(streamable.read_bytes())
    start = data.index(b"mdat") + len(data) // 3
    data[start : start + len(data) // 10] = b"\xff" * (len(data) // 10)
    streamable.write_bytes(data)
    frames = decode(Clip("clip", streamable), Uniform(count=8))
    assert np.array_equal(frames.pixels[:2], whole.pixels[:2])
    assert np.array_equal(frames.pixels[-2:], whole.pixels[-2:])
    assert "damaged" in " ".join(frames.notes)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(pixels=64 * 47), "exceed the limit of 3008 pixels"),
        (Limits(seconds=3.9), "beyond the limit of 3.9 s"),
        (Limits(file_bytes=1000), "more than the limit of 1000"),
    ],
)
def test_limits_of_a_video(streamable: Path, limits: Limits, reason: str) -> None:
    refused(streamable, reason, limits)


def test_the_memory_of_the_frames_is_limited(streamable: Path) -> None:
    with pytest.raises(BrokenClip, match="take 36864 bytes, more than the limit of 36863"):
        decode(Clip("clip", streamable), Uniform(count=4), limits=Limits(memory_bytes=36863))


def test_the_default_budget_refuses_what_would_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 8192, 4320, "yuv420p"
        for _ in range(2):
            out.mux(stream.encode(av.VideoFrame(8192, 4320, "yuv420p")))
        out.mux(stream.encode(None))
    with pytest.raises(
        BrokenClip, match=r"16 frames of 8192x4320 take 1698693120 bytes.*take fewer, or have"
    ):
        decode(Clip("clip", path), Uniform(count=16))
    assert decode(Clip("clip", path), Uniform(count=16), size=(32, 32)).pixels.shape == (16, 32, 32, 3)


class StrangeError(Exception):
    """What no library is known to raise."""


@pytest.mark.parametrize("error", [StrangeError, KeyError, RuntimeError, OSError, RecursionError])
@pytest.mark.parametrize(
    "place", ["pixels VideoReformatter", "pick RunReader", "probe measure", "container candidates"]
)
def test_any_error_costs_one_clip(
    streamable: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], place: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("what is this?")

    module, name = place.split()
    monkeypatch.setattr(sys.modules[f"vidapt.video.{module}"], name, fail)
    with pytest.raises(BrokenClip, match=f"{error.__name__}: .*what is this"):
        decode(Clip("clip", streamable), Uniform(count=4))


def test_memory_that_runs_out_costs_one_clip_and_ctrl_c_ends_the_work(
    streamable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[BaseException] = [MemoryError(), KeyboardInterrupt()]

    def fail(_: object) -> None:
        raise raised.pop(0)

    monkeypatch.setattr(sys.modules["vidapt.video.probe"], "measure", fail)
    with pytest.raises(BrokenClip, match="more memory than allowed"):
        probe(streamable)
    with pytest.raises(KeyboardInterrupt):
        probe(streamable)


def test_time_spent_is_limited(streamable: Path) -> None:
    refused(streamable, "took longer than the limit", Limits(wall_s=0.0))


def test_a_picture_that_claims_to_be_huge_is_not_decoded(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(60_000, 60_000))
    refused(path, "exceed the limit")
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_picture_that_breaks_off_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(1)[0]).save(buffer, "PNG")
    path = tmp_path / "half.png"
    path.write_bytes(buffer.getvalue()[:3000])
    with pytest.raises(BrokenClip, match="cannot be decoded as a picture"):
        decode(Clip("clip", path), Uniform(count=1))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_that_breaks_off_anywhere_is_refused_or_used(tmp_path: Path, kind: str) -> None:
    first, *others = [Image.fromarray(picture[:12, :16]) for picture in noise(3)]
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=100)
    path = tmp_path / "moving"
    reasons = set()
    for length in range(1, len(buffer.getvalue()) - 1, 3):
        path.write_bytes(buffer.getvalue()[:length])
        try:
            decode(Clip("clip", path), Uniform(count=4))
        except BrokenClip as broken:
            reasons.add(broken.reason.partition(" (")[0])
    assert "it cannot be decoded as a picture" in reasons


def test_an_animation_that_claims_to_be_huge_is_not_decoded(tmp_path: Path) -> None:
    first, *others = [Image.fromarray(picture) for picture in noise(3)]
    buffer = io.BytesIO()
    first.save(buffer, "WEBP", save_all=True, append_images=others)
    data = bytearray(buffer.getvalue())
    assert data[12:16] == b"VP8X"
    data[24:30] = b"\xff\x4f\x00" * 2  # width and height less one: 20480 each
    path = tmp_path / "bomb.webp"
    path.write_bytes(data)
    refused(path, "cannot be decoded as a picture|exceed the limit")


def test_limits_of_animations_and_folders(tmp_path: Path) -> None:
    first, *others = [Image.fromarray(picture) for picture in noise(5)]
    path = tmp_path / "moving.gif"
    first.save(path, save_all=True, append_images=others, duration=1000)
    refused(path, "it has 5 frames", Limits(frames=4))
    refused(path, "beyond the limit of 4 s", Limits(seconds=4))
    for number in range(5):
        first.save(tmp_path / f"{number}.png")
    refused(tmp_path, "it holds 6 pictures", Limits(frames=5))
    refused(tmp_path, "its pictures have", Limits(file_bytes=20_000))


def test_frames_that_grow_within_a_file_cannot_break_the_limit(tmp_path: Path) -> None:
    """The headers of the file show the small frames it starts with; large ones follow."""
    parts = []
    for side in (32, 512):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
            for _ in range(10):
                picture = av.VideoFrame.from_ndarray(
                    np.full((side, side, 3), side // 4, np.uint8), format="rgb24"
                )
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        parts.append(buffer.getvalue())
    path = tmp_path / "growing.h264"
    path.write_bytes(b"".join(parts))
    clip, late = Clip("clip", path), Times(times=(0.0, 0.7))
    assert decode(clip, late).pixels.shape == (2, 32, 32, 3)
    limited = decode(clip, late, limits=Limits(pixels=10_000))
    assert limited.pixels.mean() < 20  # only the small, dark frames were decoded
    assert "damaged" in limited.notes[0]


def _png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return start + struct.pack(">I", 9999) + b"IDAT" + bytes(64)
