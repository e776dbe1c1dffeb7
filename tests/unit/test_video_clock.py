"""Parts put behind one another, each with a clock of its own, are one film."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from footage_tools import film, luma, lumas, take, why_plain

from vidapt.nouns import Clip
from vidapt.video import Keyframes, Uniform, decode, probe
from vidapt.video.clock import Clock

MPEG2 = {"g": "10", "bf": "2", "qmin": "1", "qmax": "1"}
WRAP_S = 2**33 / 90000


def parts(folder: Path, container: str, starts_s: list[float]) -> Path:
    """Parts of three seconds whose greys go on from part to part."""
    whole = b""
    for number, start_s in enumerate(starts_s):
        codec, options, rate = ("libx264", None, 10) if container == "mpegts" else ("mpeg2video", MPEG2, 25)
        part = folder / f"part{number}"
        count = 3 * rate
        film(
            part,
            container,
            codec,
            options=options,
            rate=rate,
            count=count,
            base=7 * count * number,
            start_s=start_s,
        )
        whole += part.read_bytes()
    path = folder / "whole"
    path.write_bytes(whole)
    return path


@pytest.mark.parametrize(
    ("container", "starts_s"),
    [
        ("mpegts", [0, 0]),
        ("mpegts", [0, 0, 0, 0]),
        ("mpegts", [1000, 0]),  # FFmpeg takes the fall for the counter's overflow, and leaps ahead
        ("mpegts", [0, 1000]),
        ("mpegts", [0, 50_000, 7]),
        ("mpegts", [0, 3.2]),  # one clock after all
        ("mpegts", [WRAP_S - 1.4 - 0.5]),
        ("mpegts", [WRAP_S - 1.4 - 0.5, 0]),
        ("mpeg", [0, 0]),
        ("vob", [0, 0, 0]),
        ("mpeg", [1000, 0]),
    ],
)
def test_parts_follow_one_another(tmp_path: Path, container: str, starts_s: list[float]) -> None:
    path = parts(tmp_path, container, starts_s)
    rate = 10 if container == "mpegts" else 25
    count = 3 * rate * len(starts_s)
    found = probe(path)
    assert found.duration_s == pytest.approx(count / rate, abs=0.01)
    assert found.frames == count
    moments = [(number + 0.5) / rate for number in range(0, count, 4)]
    frames = take(path, *moments)
    assert frames.notes == ()
    for read, number in zip(lumas(frames), range(0, count, 4), strict=True):
        assert abs(read - luma(number)) <= 2
    assert frames.times_s == pytest.approx([number / rate for number in range(0, count, 4)], abs=1e-4)


def test_a_join_is_no_reason_to_decode_everything(tmp_path: Path) -> None:
    path = parts(tmp_path, "mpegts", [0, 0, 0])
    assert why_plain(path, 0.0, 4.0, 8.0) == ""
    assert why_plain(path, 8.9) == ""


def test_key_frames_of_all_parts_are_found(tmp_path: Path) -> None:
    path = parts(tmp_path, "mpegts", [0, 0])
    assert decode(Clip("clip", path), Keyframes()).times_s == pytest.approx(range(6))


def test_parts_with_sound(tmp_path: Path) -> None:
    whole = b"".join(
        film(tmp_path / str(n), "mpegts", base=210 * n, sound_s=3.2).read_bytes() for n in range(2)
    )
    (tmp_path / "whole.ts").write_bytes(whole)
    assert probe(tmp_path / "whole.ts").duration_s == pytest.approx(6)
    frames = decode(Clip("clip", tmp_path / "whole.ts"), Uniform(count=6))
    assert lumas(frames) == pytest.approx([luma(n) for n in (5, 15, 25, 35, 45, 55)], abs=2)


def test_matroska_parts_are_read_to_their_end(tmp_path: Path) -> None:
    whole = b"".join(film(tmp_path / str(n), "matroska", base=210 * n).read_bytes() for n in range(2))
    (tmp_path / "whole.mkv").write_bytes(whole)
    assert probe(tmp_path / "whole.mkv").duration_s == pytest.approx(6)
    frames = decode(Clip("clip", tmp_path / "whole.mkv"), Uniform(count=6))
    assert lumas(frames) == pytest.approx([luma(n) for n in (5, 15, 25, 35, 45, 55)], abs=2)


def moved(stamps: list[int | None], *, jumps: bool = True) -> list[int | None]:
    clock = Clock(0.01, 10, jumps=jumps)
    read = []
    for stamp in stamps:
        packet = av.Packet(b"x")
        packet.pts = packet.dts = stamp
        packet.time_base = Fraction(1, 100)
        clock.move(packet)
        read.append(packet.pts)
    return read


def test_small_faults_of_a_clock_are_left_alone() -> None:
    assert moved([0, 10, 5, 20]) == [0, 10, 5, 20]
    assert moved([0, 900, 1000]) == [0, 900, 1000]
    assert moved([None, None]) == [None, None]
    assert moved([0, 5000, 5010], jumps=False) == [0, 5000, 5010]


def test_one_stamp_gone_wild_moves_no_other_far() -> None:
    wild = moved([0, 10, 360_000, 30, 40])
    assert wild == [0, 10, 20, 30, 40]
    assert np.all(np.diff(wild) > 0)
