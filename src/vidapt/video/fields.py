"""Puts the two fields of a frame into one packet, where a demuxer gives each a packet of its own.

Interlaced H.264 may code the two fields of a frame as two pictures, as camcorders (AVCHD) and broadcasts
do. In transport streams they come as two packets, of which the second has no time stamp, or one that no
frame is ever shown at. A decoder gives one frame for both. What says that two packets are fields of one
frame stands in their slices' first bits (ITU-T H.264 7.3.2.1.1, 7.3.3 and 7.4.1.2.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import av
from av.packet import Packet
from av.video.stream import VideoStream

_HIGH = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
"""Profiles whose sequence parameters say more about colour."""

_HEAD_BYTES = 64
"""Enough of a slice for what is read of its header."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """What sequence parameters say that reading a slice's header needs.

    Attributes:
        number_bits: Bits of a frame's number.
        separate_planes: Whether each colour is coded as a picture of its own.
        fields: Whether pictures may be fields.
    """

    number_bits: int
    separate_planes: bool
    fields: bool


@dataclass(frozen=True, slots=True)
class Field:
    """Which field of which frame a picture is.

    Attributes:
        number: The frame's number.
        bottom: Whether it is the bottom field.
    """

    number: int
    bottom: bool


class Fields:
    """Joins the fields of one stream.

    Args:
        extradata: The stream's parameters with start codes.
    """

    def __init__(self, extradata: bytes) -> None:
        self._sequence = next(
            (_sequence(extradata[at + 1 :]) for kind, at in _units(extradata) if kind == 7), None
        )

    def joined(self, packets: Iterable[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
        """Yield the packets, those of two fields of one frame as one with the stamps of the first."""
        held: Packet[VideoStream] | None = None
        waiting: Field | None = None  # the field that `held` is, while the other one is missing
        for packet in packets:
            field = self._field(bytes(packet))
            if held is not None and _belong(waiting, field):
                yield _both(held, packet)
                held = waiting = None
                continue
            if held is not None:
                yield held
            held, waiting = packet, field
        if held is not None:
            yield held

    def _field(self, data: bytes) -> Field | None:
        """Which field a packet is; None where it is a frame, or both fields, or cannot be read."""
        try:
            return self._read(data)
        except IndexError:
            return None

    def _read(self, data: bytes) -> Field | None:
        for kind, at in _units(data):
            if kind == 7:
                self._sequence = _sequence(data[at + 1 :])
            elif kind in (1, 5):
                sequence = self._sequence
                if sequence is None or not sequence.fields:
                    return None
                return _slice(data[at + 1 : at + 1 + _HEAD_BYTES], sequence)
        return None


def may_be_fields(codec: str, extradata: bytes) -> bool:
    """Whether packets of a stream need `Fields`; those of MP4 and its like hold whole frames."""
    if codec != "h264" or extradata[:1] == b"\x01":
        return False
    found = [_sequence(extradata[at + 1 :]) for kind, at in _units(extradata) if kind == 7]
    return any(sequence is None or sequence.fields for sequence in found)


def _belong(first: Field | None, second: Field | None) -> bool:
    return (
        first is not None
        and second is not None
        and first.number == second.number
        and first.bottom != second.bottom
    )


def _both(first: Packet[VideoStream], second: Packet[VideoStream]) -> Packet[VideoStream]:
    packet = cast("Packet[VideoStream]", av.Packet(bytes(first) + bytes(second)))
    packet.stream, packet.time_base = first.stream, first.time_base
    packet.pts, packet.dts = first.pts, first.dts
    packet.duration = (first.duration or 0) + (second.duration or 0)
    packet.is_keyframe = first.is_keyframe
    packet.is_corrupt = first.is_corrupt or second.is_corrupt
    return packet


def _units(data: bytes) -> Iterator[tuple[int, int]]:
    """Kind and place of every NAL unit's first byte."""
    at = data.find(b"\x00\x00\x01")
    while 0 <= at < len(data) - 3:
        yield data[at + 3] & 31, at + 3
        at = data.find(b"\x00\x00\x01", at + 3)


class _Bits:
    """Reads numbers out of coded bits.

    Raises:
        IndexError: Past the end.
    """

    def __init__(self, coded: bytes) -> None:
        self._data = coded.replace(b"\x00\x00\x03", b"\x00\x00")
        self._at = 0

    def u(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def _sequence(coded: bytes) -> Sequence | None:
    """Read sequence parameters up to the flag that matters; None where they break off."""
    try:
        return _read_sequence(_Bits(coded[:1024]))
    except IndexError:
        return None


def _read_sequence(bits: _Bits) -> Sequence:
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    separate = bool(_read_colour(bits)) if profile in _HIGH else False
    number_bits = bits.ue() + 4
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue()
    bits.u(1)
    bits.ue()
    bits.ue()
    return Sequence(number_bits, separate, fields=not bits.u(1))


def _read_colour(bits: _Bits) -> int:
    """Pass over formats and scaling lists; return whether colours are coded apart."""
    colour = bits.ue()
    separate = bits.u(1) if colour == 3 else 0
    bits.ue()
    bits.ue()
    bits.u(1)
    if bits.u(1):
        for index in range(12 if colour == 3 else 8):
            if bits.u(1):
                _pass_scaling_list(bits, 16 if index < 6 else 64)
    return separate


def _pass_scaling_list(bits: _Bits, size: int) -> None:
    last = 8
    for _ in range(size):
        last = (last + bits.se()) % 256
        if last == 0:  # the rest repeats what came before
            return


def _slice(coded: bytes, sequence: Sequence) -> Field | None:
    bits = _Bits(coded)
    bits.ue()
    bits.ue()
    bits.ue()
    if sequence.separate_planes:
        bits.u(2)
    number = bits.u(sequence.number_bits)
    return Field(number, bottom=bool(bits.u(1))) if bits.u(1) else None
