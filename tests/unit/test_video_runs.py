"""Which packets are read and decoded: no more than the wanted frames need."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vidapt.video import DEFAULT
from vidapt.video.container import Source, opened
from vidapt.video.entries import Entries
from vidapt.video.pick import Findings, pick
from vidapt.video.runs import RunReader, UnreliableError, answers

RATE = 10
SECONDS = 30


def write(path: Path, container: str, codec: str, options: dict[str, str]) -> None:
    """Thirty seconds of noise at ten frames per second."""
    rng = np.random.default_rng(0)
    with av.open(path, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 32, "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(RATE * SECONDS):
            pixels = rng.integers(0, 256, (32, 96, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def x264(**params: object) -> dict[str, str]:
    fixed = {"scenecut": 0, "min-keyint": 1, "keyint": 20, "bframes": 3, "b-adapt": 0, "crf": 40} | params
    text = ":".join(f"{name.replace('_', '-')}={value}" for name, value in fixed.items())
    return {"preset": "ultrafast", "x264-params": text}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The packets read from any file, as a list that grows by one for each."""
    read: list[int] = []
    packets = Source.packets

    def counting(source: Source) -> Iterator[av.Packet]:
        for packet in packets(source):
            read.append(1)
            yield packet

    monkeypatch.setattr(Source, "packets", counting)
    return read


FILES = {
    "mp4": ("mp4", "libx264", x264()),
    "open": ("mp4", "libx264", x264(open_gop=1)),
    "mkv": ("matroska", "libx264", x264()),
    "avi": ("avi", "mpeg4", {"g": "20"}),
    "webm": ("webm", "libvpx-vp9", {"g": "20", "deadline": "realtime", "cpu-used": "8"}),
    "hevc": ("mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:keyint=20"}),
}


@pytest.mark.parametrize("name", FILES)
def test_moments_far_apart_are_sought(tmp_path: Path, counted: list[int], name: str) -> None:
    path = tmp_path / "clip"
    write(path, *FILES[name])
    findings = Findings()
    with opened(path, DEFAULT, look=False) as source:
        rows = [shown.rows for shown in pick(source, [1.0, 15.0, 27.0], findings)]
    assert rows == [(0,), (1,), (2,)]
    assert findings.plain == ""
    assert len(counted) < RATE * SECONDS / 2


def test_without_an_index_all_is_read_and_little_decoded(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    write(path, "mpegts", "libx264", x264())
    with opened(path, DEFAULT) as source:
        reader = RunReader(source)
        second = int(1 / source.time_base)
        runs = list(reader.runs([reader.origin + second, reader.origin + 20 * second]))
    assert [len(run.ticks) for run in runs] == [1, 1]
    assert sum(len(run.packets) for run in runs) < 80


def test_moments_of_one_group_of_pictures_share_a_run(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write(path, "mp4", "libx264", x264(keyint=100))
    with opened(path, DEFAULT) as source:
        reader = RunReader(source)
        ticks = [reader.origin + int(moment / source.time_base) for moment in (1.0, 4.0, 9.9, 10.0, 28.0)]
        runs = list(reader.runs(ticks))
        assert [run.ticks for run in runs] == [ticks[:3], ticks[3:4], ticks[4:]]
        found = {tick: shown for run in runs for tick, shown in answers(run).items()}
    assert found == {tick: tick for tick in ticks}


def test_reading_goes_back_to_where_it_was_when_seeking_gains_nothing(tmp_path: Path) -> None:
    """The key frame at 5 s is shown after, but stored before, the leading picture wanted."""
    path = tmp_path / "clip.mp4"
    write(path, "mp4", "libx264", x264(open_gop=1, keyint=50, bframes=3))
    with opened(path, DEFAULT) as source:
        reader = RunReader(source)
        tick = reader.origin + int(4.9 / source.time_base)
        (run,) = reader.runs([tick])
        assert answers(run) == {tick: tick}
        assert run.packets[0].pts == reader.origin


@pytest.mark.parametrize(
    ("params", "share"),
    [
        ({"keyint": 20}, 15),  # every group starts with a picture that resets the decoder
        ({"keyint": 20, "open_gop": 1}, 15),  # and with one from which decoding is exact
        ({"keyint": 20, "intra_refresh": 1, "bframes": 0}, 1),  # the picture only heals over a group
    ],
)
def test_only_packets_from_which_decoding_is_exact_are_entries(
    tmp_path: Path, params: dict[str, object], share: int
) -> None:
    for container in ("mp4", "mpegts"):
        path = tmp_path / container
        write(path, container, "libx264", x264(**params))
        with opened(path, DEFAULT) as source:
            entries = Entries(source.stream)
            assert sum(entries.is_entry(packet) for packet in source.packets()) == share


def test_a_file_that_starts_in_the_middle_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    write(path, "mpegts", "libx264", x264(keyint=50))
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 188 // 10 * 188 :])
    with opened(path, DEFAULT) as source, pytest.raises(UnreliableError, match="does not start"):
        RunReader(source)
    findings = Findings()
    with opened(path, DEFAULT) as source:
        assert len(list(pick(source, [0.0, 10.0], findings))) == 2
    assert "does not start" in findings.plain
