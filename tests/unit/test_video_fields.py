"""H.264 whose frames are two field pictures: one packet a field, one frame for both."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
from footage_tools import film, luma, lumas, take, why_plain

from vidapt.nouns import Clip
from vidapt.video import DEFAULT, Keyframes, decode, probe
from vidapt.video.container import Source, opened
from vidapt.video.fields import Fields, may_be_fields

GROUP = 10


class Bits:
    """Writes numbers as H.264 codes them."""

    def __init__(self) -> None:
        self.bits = ""

    def u(self, count: int, *values: int) -> None:
        for value in values:
            self.bits += format(value, f"0{count}b")

    def ue(self, *values: int) -> None:
        for value in values:
            code = format(value + 1, "b")
            self.bits += "0" * (len(code) - 1) + code

    def samples(self, grey: int) -> None:
        """A macroblock without prediction."""
        self.ue(25)
        self.bits += "0" * (-len(self.bits) % 8)
        self.u(8, *[grey] * 256, *[128] * 128)

    def unit(self, head: int) -> bytes:
        bits = self.bits + "1"
        bits += "0" * (-len(bits) % 8)
        payload = int(bits, 2).to_bytes(len(bits) // 8)
        escaped = bytearray()
        for byte in payload:
            if escaped[-2:] == b"\0\0" and byte <= 3:
                escaped.append(3)
            escaped.append(byte)
        return b"\0\0\0\1" + bytes([head]) + bytes(escaped)


def sequence(*, high: bool = False, order: int = 0) -> bytes:
    bits = Bits()
    bits.u(8, 100 if high else 77, 0, 30)
    bits.ue(0)
    if high:
        bits.ue(1, 0, 0)
        bits.u(1, 0, 1)
        bits.u(1, 1)
        bits.ue(*[0] * 16)  # a scaling list of 16 numbers, each as the one before
        bits.u(1, *[0] * 7)
    bits.ue(0, order)
    if order == 0:
        bits.ue(4)
    elif order == 1:
        bits.u(1, 0)
        bits.ue(0, 0, 2, 3, 4)
    bits.ue(1)
    bits.u(1, 0)
    bits.ue(3, 1)
    bits.u(1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1)
    bits.u(32, 1, 50)
    bits.u(1, 1, 0, 0, 1, 0)
    return bits.unit(0x67)


def pictures() -> bytes:
    bits = Bits()
    bits.ue(0, 0)
    bits.u(2, 0)
    bits.ue(0, 0, 0)
    bits.u(3, 0)
    bits.ue(0, 0, 0)
    bits.u(3, 0)
    return bits.unit(0x68)


def field(number: int, bottom: int) -> bytes:
    within, fresh = number % GROUP, number % GROUP == 0 and not bottom
    bits = Bits()
    bits.ue(0, 7, 0)
    bits.u(4, within)
    bits.u(1, 1, bottom)
    if fresh:
        bits.ue(number // GROUP % 2)
    bits.u(8, 2 * within + bottom)
    bits.u(2 if fresh else 1, 0)
    bits.ue(0)
    for _ in range(8):
        bits.samples(luma(number))
    return bits.unit(0x65 if fresh else 0x61)


def write(path: Path, container: str, count: int, *, apart: bool, lost: tuple[int, int] = (-1, 0)) -> Path:
    """Write a film of 25 frames a second; `apart`: each field has a packet and stamps of its own."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream("h264", rate=25)
        stream.height = stream.width = 64
        stream.time_base = Fraction(1, 90000)
        for number in range(count):
            head = sequence() + pictures() if number % GROUP == 0 else b""
            fields = [b"\0\0\0\1\x09\x10" + head + field(number, 0), b"\0\0\0\1\x09\x10" + field(number, 1)]
            fields = [data for bottom, data in enumerate(fields) if (number, bottom) != lost]
            for at, data in enumerate(fields if apart else [b"".join(fields)]):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, 90000)
                packet.pts = packet.dts = 90000 + number * 3600 + at * 1800
                packet.is_keyframe = number % GROUP == 0 and at == 0
                out.mux(packet)
    return path


def of_a_stream(coded: list[bytes]) -> Iterator[av.Packet]:
    with av.open(io.BytesIO(), "w", format="mpegts") as out:
        stream = out.add_stream("h264", rate=25)
        for data in coded:
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 90000)
            yield packet


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the packets that were handed to whoever reads files."""
    sizes: list[int] = []
    packets = Source.packets

    def counting(source: Source) -> Iterator[av.Packet]:
        for packet in packets(source):
            sizes.append(packet.size)
            yield packet

    monkeypatch.setattr(Source, "packets", counting)
    return sizes


@pytest.mark.parametrize("apart", [False, True])
def test_fields_are_read_as_frames(tmp_path: Path, apart: bool) -> None:
    path = write(tmp_path / "clip.ts", "mpegts", 60, apart=apart)
    found = probe(path)
    assert (found.frames, found.rate) == (60, 25)
    assert found.duration_s == pytest.approx(2.4)
    moments = [0.0, 0.03, 0.04, 0.99, 1.02, 2.39]
    frames = take(path, *moments)
    assert frames.notes == ()
    assert frames.times_s == pytest.approx([0, 0, 0.04, 0.96, 1.0, 2.36])
    assert lumas(frames) == pytest.approx([luma(n) for n in (0, 0, 1, 24, 25, 59)], abs=1)
    assert decode(Clip("clip", path), Keyframes(cap=99)).times_s[:2] == pytest.approx([0.0, 0.04])


@pytest.mark.parametrize("apart", [False, True])
def test_fields_are_no_reason_to_decode_everything(tmp_path: Path, apart: bool) -> None:
    path = write(tmp_path / "clip.ts", "mpegts", 100, apart=apart)
    assert why_plain(path, 0.01, 2.33, 3.9) == ""


def test_a_lost_field_takes_no_other_along(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.ts", "mpegts", 60, apart=True, lost=(25, 1))
    assert probe(path).frames == 60
    frames = take(path, 0.5, 2.0)
    assert lumas(frames) == pytest.approx([luma(12), luma(50)], abs=1)


def test_each_packet_holds_both_fields(tmp_path: Path, fed: list[int]) -> None:
    path = write(tmp_path / "clip.ts", "mpegts", 30, apart=False)
    with opened(path, DEFAULT) as source:
        packets = list(source.packets())
    assert len(packets) == 30
    assert all(size > 2 * 8 * 384 for size in fed)
    assert [packet.pts - packets[0].pts for packet in packets] == [3600 * number for number in range(30)]


@pytest.mark.parametrize("high", [False, True])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_parameters_of_every_kind_are_read(high: bool, order: int) -> None:
    extradata = sequence(high=high, order=order)
    assert may_be_fields("h264", extradata)
    coded = [field(3, 0), field(3, 1), field(4, 0), field(5, 0), field(5, 1), b"\0\0\1\x41"]
    joined = [bytes(packet) for packet in Fields(extradata).joined(of_a_stream(coded))]
    assert joined == [coded[0] + coded[1], coded[2], coded[3] + coded[4], coded[5]]


@pytest.mark.parametrize("interlaced", [False, True])
def test_whole_frames_are_left_alone(tmp_path: Path, interlaced: bool) -> None:
    options = {"x264-params": f"interlaced={int(interlaced)}:keyint=10", "crf": "2"}
    path = film(tmp_path / "clip.ts", "mpegts", options=options)
    with opened(path, DEFAULT) as source:
        assert may_be_fields("h264", bytes(source.stream.codec_context.extradata or b"")) == interlaced
    assert probe(path).frames == 30
    assert why_plain(path, 0.5, 2.5) == ""
    assert lumas(take(path, 0.5, 2.5)) == pytest.approx([luma(5), luma(25)], abs=2)


@pytest.mark.parametrize(
    "extradata", [b"", b"\1abc", b"\0\0\1\x67", b"\0\0\1\x67\xff", b"\0\0\1\x67" + b"\0" * 900]
)
def test_parameters_that_break_off_do_no_harm(extradata: bytes) -> None:
    may_be_fields("h264", extradata)
    coded = [field(3, 0), field(3, 1)]
    joined = [bytes(packet) for packet in Fields(extradata).joined(of_a_stream(coded))]
    assert b"".join(joined) == b"".join(coded)
