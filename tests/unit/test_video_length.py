"""The length of a film is that of its own pictures, whatever headers, sound and containers say."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from footage_tools import film, luma, lumas, take

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip
from vidapt.video import Uniform, decode, probe
from vidapt.video.container import Source

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
WMV = ("wmv2", {"qscale": "1"})
KINDS = {
    "mkv": ("matroska", "libx264", None, {}),
    "fragmented": ("mp4", "libx264", None, FRAGMENTS),
    "mp4": ("mp4", "libx264", None, {}),
    "flv": ("flv", "libx264", None, {}),
    "wmv": ("asf", *WMV, {}),
    "nut": ("nut", "libx264", None, {}),
    "ts": ("mpegts", "libx264", None, {}),
    "avi": ("avi", "mpeg4", {"g": "10", "qscale": "1"}, {}),
}


def write(folder: Path, kind: str, **more: float) -> Path:
    container, codec, options, muxing = KINDS[kind]
    return film(folder / f"clip.{kind}", container, codec, options=options, muxing=muxing, **more)


@pytest.mark.parametrize("sound_s", [0, 2, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_sound_neither_lengthens_nor_shortens_a_film(tmp_path: Path, kind: str, sound_s: float) -> None:
    path = write(tmp_path, kind, sound_s=sound_s)
    # AVI repeats a frame where sound begins late.
    assert probe(path).duration_s == pytest.approx(3, abs=0.11 if kind == "avi" else 0.06)
    frames = decode(Clip("clip", path), Uniform(count=6))
    assert frames.notes == ()
    for found, number in zip(lumas(frames), (2, 7, 12, 17, 22, 27), strict=True):
        assert abs(found - luma(number)) <= 3


@pytest.mark.parametrize("tag", [b"DURATION", b"XURATION"])
def test_a_matroska_tag_is_not_needed(tmp_path: Path, tag: bytes) -> None:
    path = write(tmp_path, "mkv", sound_s=9)
    path.write_bytes(path.read_bytes().replace(b"DURATION", tag))
    assert probe(path).duration_s == pytest.approx(3, abs=0.06)


def test_a_tag_that_lies_is_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path, "mkv", sound_s=9)
    data = path.read_bytes()
    assert b"00:00:03.0" in data
    path.write_bytes(data.replace(b"00:00:03.0", b"00:00:01.0"))
    assert probe(path).duration_s == pytest.approx(3, abs=0.06)


def test_a_header_that_says_too_little_is_overruled_by_the_index(tmp_path: Path) -> None:
    path = write(tmp_path, "mp4")
    data = bytearray(path.read_bytes())
    for box, at in ((b"mvhd", 16), (b"mdhd", 16)):
        place = data.index(box) + 4 + at
        data[place : place + 4] = struct.pack(">I", int.from_bytes(data[place : place + 4]) // 3)
    path.write_bytes(data.replace(b"edts", b"free"))
    assert probe(path).duration_s == pytest.approx(3, abs=0.11)
    assert probe(path).frames == 30


@pytest.mark.parametrize("kind", ["mkv", "ts", "fragmented"])
def test_the_last_packets_are_read_and_not_all(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only formats that cannot be sought in are read as a whole."""
    path = write(tmp_path, kind, count=600, sound_s=61)
    read: list[int] = []
    check = Source.check_clock
    monkeypatch.setattr(Source, "check_clock", lambda source: (read.append(1), check(source))[1])
    assert probe(path).duration_s == pytest.approx(60, abs=0.06)
    assert (len(read) < 400) == (kind != "ts")


def test_a_film_with_sound_that_was_cut_off_is_as_long_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, "mkv", count=200, sound_s=20)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    assert probe(path).duration_s == pytest.approx(20, abs=0.2)
    assert "truncated" in take(path, *range(0, 20, 2)).notes[0]
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(BrokenClip, match="truncated"):
        decode(Clip("clip", path), Uniform(count=8))
