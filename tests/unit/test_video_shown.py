"""Shape, way up, colour and transparency: a film looks as a player shows it."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from footage_tools import film, luma, lumas, take
from PIL import Image

from vidapt.errors import BrokenClip
from vidapt.video import DEFAULT, Limits, probe
from vidapt.video.container import opened
from vidapt.video.pick import Findings
from vidapt.video.pixels import Canvas

CORNERS = np.zeros((48, 64, 3), np.uint8)
CORNERS[:24, :32], CORNERS[:24, 32:], CORNERS[24:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)

ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="compares with FFmpeg's own program")


def seen_by_ffmpeg(path: Path) -> np.ndarray:
    """The first frame as FFmpeg's program shows it."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-frames:v", "1", "-pix_fmt", "rgb24"]
    command += ["-f", "image2pipe", "-c:v", "ppm", "-"]
    _, size, _, pixels = subprocess.run(command, capture_output=True, check=True).stdout.split(b"\n", 3)
    width, height = map(int, size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def turned(path: Path, matrix: tuple[int, int, int, int] | None, pixels: np.ndarray = CORNERS) -> Path:
    """Forty frames that a display matrix (a, b, c, d) turns."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"g": "10", "crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv444p"
        if matrix is not None:
            a, b, c, d = (number << 16 for number in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for index in range(40):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


WAYS = {
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (-1, 0, 0, -1): lambda p: np.rot90(p, 2),
    (0, -1, 1, 0): lambda p: np.rot90(p, 1),
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
    (0, -1, -1, 0): lambda p: np.rot90(p, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", WAYS)
def test_every_way_up(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = turned(tmp_path / "clip.mp4", matrix)
    upright = WAYS[matrix](CORNERS)
    frames = take(path, 3.5, 0.0)
    assert frames.pixels.shape == (2, *upright.shape)
    assert abs(frames.pixels.astype(int) - upright).max() < 8
    assert (probe(path).height, probe(path).width) == upright.shape[:2]


@ffmpeg
@pytest.mark.parametrize("matrix", WAYS)
def test_every_way_up_is_ffmpegs(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = turned(tmp_path / "clip.mp4", matrix)
    assert np.array_equal(take(path, 0.0).pixels[0], seen_by_ffmpeg(path))


def told_in_stream(path: Path, clip: Path, groups: range) -> Path:
    """Copy a film and write a turn to the left into the key frames of some groups of pictures."""
    # Payload 47, display orientation (ITU-T H.264 D.1.27): not cancelled, no flips, a quarter turn, once.
    message = b"\0\0\0\1\x06\x2f\x03" + (0x4000 << 5 | 1 << 4 | 1 << 2).to_bytes(3) + b"\x80"
    with av.open(str(clip)) as source, av.open(str(path), "w", format="mpegts") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        extradata, group = bytes(stream.codec_context.extradata), -1
        size = int.from_bytes(extradata[6:8])
        head = b"\0\0\0\1" + extradata[8 : 8 + size]
        at = 8 + size + 1
        head += b"\0\0\0\1" + extradata[at + 2 : at + 2 + int.from_bytes(extradata[at : at + 2])]
        for packet in source.demux(stream):
            if not packet.size:
                continue
            data, coded, at = bytes(packet), b"", 0
            while at < len(data):
                size = int.from_bytes(data[at : at + 4])
                coded += b"\0\0\0\1" + data[at + 4 : at + 4 + size]
                at += 4 + size
            group += packet.is_keyframe
            if packet.is_keyframe:
                coded = head + (message if group in groups else b"") + coded
            changed = av.Packet(coded)
            changed.stream, changed.time_base, changed.is_keyframe = (
                copy,
                packet.time_base,
                packet.is_keyframe,
            )
            changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
            out.mux(changed)
    return path


@pytest.mark.parametrize(
    ("groups", "is_turned"),
    [(range(4), True), (range(1), True), (range(1, 4), False), (range(0), False), (range(0, 4, 2), True)],
)
def test_a_clip_is_one_way_up_which_is_that_of_its_first_frame(
    tmp_path: Path, groups: range, is_turned: bool
) -> None:
    path = told_in_stream(tmp_path / "clip.ts", turned(tmp_path / "plain.mp4", None), groups)
    upright = np.rot90(CORNERS) if is_turned else CORNERS
    assert (probe(path).height, probe(path).width) == upright.shape[:2]
    for moments in ((0.0,), (0.5,), (1.0,), (2.5,), (3.9,), (3.5, 0.1, 2.0)):
        pixels = take(path, *moments).pixels
        assert pixels.shape[1:] == upright.shape
        assert abs(pixels.astype(int) - upright).max() < 8


def test_looking_at_frames_keeps_none_of_them_in_memory(tmp_path: Path) -> None:
    path = turned(tmp_path / "clip.mp4", (0, 1, -1, 0))
    asked = []

    class Watched:
        rotation, color_trc = 90, 2

        @property
        def side_data(self) -> dict[str, object]:
            asked.append(1)
            return {}

    with opened(path, DEFAULT) as source:
        findings = Findings()
        for number in range(9):
            findings.look(source, Watched(), first=number == 3)  # type: ignore[arg-type]
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(16, 11), (48, 93)),
        (Fraction(8, 9), (54, 64)),
        (Fraction(1, 2), (96, 64)),
        (Fraction(1), (48, 64)),
        (Fraction(200, 201), (48, 64)),  # rounded by whoever wrote it
        (Fraction(100), (48, 64)),  # no such thing
    ],
)
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "avi", "vob"])
def test_pixels_become_square(
    tmp_path: Path, container: str, aspect: Fraction, size: tuple[int, int]
) -> None:
    codec = {"avi": "mpeg4", "vob": "mpeg2video"}.get(container, "libx264")
    if codec == "mpeg2video" and aspect != Fraction(1):
        pytest.skip("MPEG-2 knows three shapes of pictures")
    options = None if codec == "libx264" else {"g": "10"}
    path = film(
        tmp_path / "clip", container, codec, options=options, size=(48, 64), aspect=aspect, rate=25, count=20
    )
    assert (probe(path).height, probe(path).width) == size
    assert take(path, 0.0, 0.5).pixels.shape[1:3] == size
    assert take(path, 0.0, 0.5, size=(20, 30)).pixels.shape[1:3] == (20, 30)


def test_the_shape_of_a_turned_film_is_turned(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        stream.set_display_rotation(90)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(CORNERS, format="rgb24")))
        out.mux(stream.encode(None))
    assert take(path, 0.0).pixels.shape == (1, 128, 48, 3)
    assert (probe(path).height, probe(path).width) == (128, 48)


def test_a_film_drawn_out_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", "mp4", aspect=Fraction(4), count=4)
    with pytest.raises(BrokenClip, match="more than the limit"):
        take(path, 0.0, limits=Limits(memory_bytes=64 * 64 * 3 * 3))
    with pytest.raises(BrokenClip, match="exceed the limit"):
        probe(path, Limits(pixels=64 * 64 * 3))


@pytest.mark.parametrize("matrix", range(19))
@pytest.mark.parametrize("coded_range", [0, 1, 2])
def test_every_colour_matrix_is_converted_somehow(matrix: int, coded_range: int) -> None:
    frame = av.VideoFrame(16, 16, "yuv420p")
    for plane, value in zip(frame.planes, (126, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace, frame.color_range = matrix, coded_range
    canvas = Canvas(Path("clip"), 1, None, DEFAULT)
    canvas.put([0], frame)
    if matrix != 0:  # no matrix at all: the planes are colours
        assert np.ptp(canvas.pixels) <= 1


@pytest.mark.parametrize(("unknown", "taken"), [(8, 5), (14, 9), (10, 9), (17, 5)])
def test_a_matrix_that_cannot_be_undone_is_taken_for_its_nearest(unknown: int, taken: int) -> None:
    pixels = []
    for matrix in (unknown, taken):
        frame = av.VideoFrame(16, 16, "yuv420p")
        for plane, value in zip(frame.planes, (126, 90, 170), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.colorspace = matrix
        canvas = Canvas(Path("clip"), 1, None, DEFAULT)
        canvas.put([0], frame)
        pixels.append(canvas.pixels)
    assert np.array_equal(*pixels)


@ffmpeg
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "yuv420p16le"])
def test_colours_at_hard_edges_are_ffmpegs(tmp_path: Path, pixels: str) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8).repeat(12, 0).repeat(10, 1)
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = *colours.shape[:2], pixels
        out.mux(stream.encode(av.VideoFrame.from_ndarray(colours, format="rgb24")))
        out.mux(stream.encode(None))
    assert np.array_equal(take(path, 0.0).pixels[0], seen_by_ffmpeg(path))


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG"), (1, "")])
def test_hdr_is_told(tmp_path: Path, transfer: int, name: str) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p10le"
        stream.codec_context.color_trc = transfer
        frame = av.VideoFrame.from_ndarray(CORNERS, format="rgb24")
        frame.color_trc = transfer
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    notes = take(path, 0.0).notes
    assert (name in " ".join(notes)) if name else notes == ()


@pytest.mark.parametrize(
    ("codec", "pixels"), [("qtrle", "argb"), ("png", "rgba"), ("prores_ks", "yuva444p10le"), ("ffv1", "bgra")]
)
def test_what_is_transparent_shows_white(tmp_path: Path, codec: str, pixels: str) -> None:
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[...] = (255, 0, 255, 0)
    picture[16:48, 16:48] = (0, 160, 0, 255)
    picture[:8, :8] = (0, 0, 0, 128)
    path = tmp_path / ("clip.mkv" if codec == "ffv1" else "clip.mov")
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, pixels
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    for shown in take(path, 0.0, 0.2).pixels.astype(int):
        assert shown[60, 60].tolist() == [255, 255, 255]
        assert abs(shown[32, 32] - (0, 160, 0)).max() < 4
        assert abs(shown[4, 4] - 127).max() < 4


@pytest.mark.parametrize("container", ["h264", "mp4"])
def test_an_assumed_rate_is_told(tmp_path: Path, container: str) -> None:
    path = film(tmp_path / "clip", container)
    assert take(path, 0.0).notes == ()  # x264 writes the rate into the stream itself
    assert probe(path).rate == 10
    if container == "h264":
        bare = film(tmp_path / "bare", "obu", "libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"})
        assert "25 frames a second are assumed" in take(bare, 0.0).notes[0]


def test_dv_runs_at_its_own_rate(tmp_path: Path) -> None:
    path = film(tmp_path / "clip", "dv", "dvvideo", options={}, rate=25, count=50, size=(576, 720))
    found = probe(path)
    assert (found.rate, found.duration_s, found.frames) == (25, 2, 50)
    frames = take(path, 0.5, 1.98)
    assert frames.notes == ()
    assert abs(np.array(lumas(frames)) - [luma(12), luma(49)]).max() <= 2
    assert frames.pixels.shape[1:3] in ((576, 768), (576, 720))
    assert Image.fromarray(frames.pixels[0]).size[1] == 576
