"""Of several video streams the film is read, and not a picture that goes with it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from footage_tools import RATE, grey_frame, luma, lumas, take

from vidapt.errors import BrokenClip
from vidapt.video import probe

KINDS = {
    "mkv": ("matroska", "libx264", "mjpeg"),
    "mp4": ("mp4", "libx264", "png"),
    "wmv": ("asf", "wmv2", "mjpeg"),
    "avi": ("avi", "mpeg4", "mjpeg"),
}


def write(
    path: Path, container: str, films: list[tuple[str, int, int]], marks: dict[int, Disposition] | None = None
) -> Path:
    """Write streams: codec, number of frames, first grey."""
    with av.open(str(path), "w", format=container) as out:
        streams = []
        for index, (codec, _, _) in enumerate(films):
            stream = out.add_stream(codec, rate=RATE, options={"g": "10", "qscale": "1", "crf": "1"})
            stream.height = stream.width = 64
            stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
            for marked, mark in (marks or {}).items():
                if marked == index:
                    stream.disposition = mark
            streams.append(stream)
        for number in range(max(count for _, count, _ in films)):
            for stream, (_, count, base) in zip(streams, films, strict=True):
                if number < count:
                    frame = grey_frame(luma(number, base), pixels=stream.pix_fmt)
                    frame.pts, frame.time_base = number, Fraction(1, RATE)
                    out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))
    return path


def is_film(path: Path, base: int, count: int = 30) -> bool:
    assert probe(path).duration_s == pytest.approx(count / RATE, abs=0.06)
    found = np.array(lumas(take(path, 0.0, 0.5, 2.0)))
    return bool(abs(found - [luma(n, base) for n in (0, 5, 20)]).max() <= 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cover_first", [True, False])
def test_a_cover_without_a_mark_is_not_the_film(tmp_path: Path, kind: str, cover_first: bool) -> None:
    container, codec, still = KINDS[kind]
    films = [(still, 1, 150), (codec, 30, 0)]
    path = write(tmp_path / f"clip.{kind}", container, films if cover_first else films[::-1])
    assert is_film(path, 0)


def test_a_picture_in_the_films_own_codec_is_not_the_film(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", "matroska", [("libx264", 1, 150), ("libx264", 30, 0)])
    assert is_film(path, 0)


def test_a_cover_of_a_long_film_is_known_without_reading_all_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", "matroska", [("mjpeg", 1, 150), ("libx264", 600, 0)])
    assert is_film(path, 0, 600)


def test_of_two_films_the_first_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", "matroska", [("mjpeg", 30, 70), ("libx264", 30, 0)])
    assert is_film(path, 70)
    path = write(tmp_path / "clip.ts", "mpegts", [("libx264", 30, 70), ("libx264", 30, 0)])
    assert is_film(path, 70)


def test_of_two_films_the_one_marked_to_be_shown_is_read(tmp_path: Path) -> None:
    marks = {0: Disposition(0), 1: Disposition.default}
    path = write(tmp_path / "clip.mkv", "matroska", [("libx264", 30, 70), ("libx264", 30, 0)], marks)
    assert is_film(path, 0)


def test_a_picture_alone_is_what_there_is(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", "matroska", [("mjpeg", 1, 70)])
    assert abs(lumas(take(path, 0.0))[0] - luma(0, 70)) <= 2


def test_sound_with_a_cover_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        sound, cover = out.add_stream("aac", rate=16000), out.add_stream("png")
        cover.height = cover.width = 64
        cover.pix_fmt, cover.disposition = "rgb24", Disposition.attached_pic
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        piece.sample_rate = 16000
        out.mux(sound.encode(piece))
        out.mux(cover.encode(grey_frame(100, pixels="rgb24")))
        for stream in (sound, cover):
            out.mux(stream.encode(None))
    with pytest.raises(BrokenClip, match="only audio and a cover picture"):
        probe(path)
