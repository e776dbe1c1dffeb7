"""From which packets decoding may start with bit-exact results.

A container's key frame flag is not enough: it also marks H.264 recovery points from which the picture
only gradually becomes right, and some writers set it on frames that need earlier ones. The few bits that
tell are read here from the coded data (ITU-T H.264 7.3 and D.1.8, H.265 7.3.1.2, ISO 14496-2 6.2.5,
RFC 6386 9.1, and the VP9 bitstream specification 6.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from av.packet import Packet
from av.video.stream import VideoStream

FLAG_IS_ENOUGH = frozenset(
    {"mpeg1video", "mpeg2video", "av1", "libdav1d", "mjpeg", "prores", "dnxhd", "ffv1", "dvvideo"}
)
"""Codecs of which the key frame flag is set by a parser, or which have nothing but key frames."""


class Entries:
    """Tells entry points of one stream from other packets.

    Args:
        stream: The video stream.
    """

    def __init__(self, stream: VideoStream) -> None:
        extradata = bytes(stream.codec_context.extradata or b"")
        self._codec = stream.codec_context.name
        self._test = _TESTS.get(self._codec)
        self._by_flag = self._codec in FLAG_IS_ENOUGH
        self._prefix = _length_size(self._codec, extradata)

    @property
    def known(self) -> bool:
        """Whether anything is known of this codec; if not, only the start of the file is safe."""
        return self._by_flag or self._test is not None

    def is_entry(self, packet: Packet[VideoStream]) -> bool:
        """Whether every frame shown at or after this packet's is exact when decoding starts here."""
        if not packet.is_keyframe or packet.is_corrupt:
            return False
        return self._by_flag or (self._test is not None and self._test(bytes(packet), self._prefix))

    def tells_turn(self, packet: Packet[VideoStream]) -> bool:
        """Whether a packet itself says which way up its picture is, as H.264 and H.265 can."""
        head = _MESSAGES.get(self._codec)
        if head is None:
            return False
        kind, shift, mask, size = head
        units = nal_units(bytes(packet), self._prefix)
        messages = (unit[size:] for unit in units if unit and unit[0] >> shift & mask == kind)
        return any(number == _TURN for message in messages for number, _ in _sei_messages(message))


_TURN = 47
"""Display orientation (ITU-T H.264 D.1.27, H.265 D.2.17)."""

_MESSAGES = {"h264": (6, 0, 31, 1), "hevc": (39, 1, 63, 2)}
"""Kind of the NAL units that hold messages, where in their first byte it stands, and size of their head."""


def _length_size(codec: str, extradata: bytes) -> int:
    """Bytes of the length in front of each NAL unit, 0 for start codes (Annex B)."""
    if codec == "h264" and len(extradata) > 6 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) > 22 and extradata[0] == 1:
        return (extradata[21] & 3) + 1
    return 0


def nal_units(data: bytes, prefix: int) -> Iterator[bytes]:
    """Split a packet into NAL units; `prefix` is the size of the length field, 0 for start codes."""
    if not prefix:
        yield from data.split(b"\x00\x00\x01")[1:]
        return
    at = 0
    while at + prefix < len(data):
        size = int.from_bytes(data[at : at + prefix])
        yield data[at + prefix : at + prefix + size]
        at += prefix + size


def _h264(data: bytes, prefix: int) -> bool:
    exact = False
    for unit in nal_units(data, prefix):
        kind = unit[0] & 31 if unit else 0
        if kind == 5:
            return True
        if kind == 6:
            exact = exact or _exact_recovery(unit[1:])
        elif kind == 1:
            return exact
    return False


def _exact_recovery(sei: bytes) -> bool:
    """Whether a recovery point message says that decoding is exact from its own frame on."""
    for kind, message in _sei_messages(sei):
        if kind == 6 and message:
            # recovery_frame_cnt is an Exp-Golomb number, so a first bit of 1 means 0; exact_match_flag
            # comes next and broken_link_flag after it.
            return message[0] & 0b11100000 == 0b11000000
    return False


def _sei_messages(sei: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of every message of a NAL unit."""
    payload = sei.replace(b"\x00\x00\x03", b"\x00\x00")
    at = 0
    while at + 2 < len(payload):
        kind, at = _sei_number(payload, at)
        size, at = _sei_number(payload, at)
        yield kind, payload[at : at + size]
        at += size


def _sei_number(payload: bytes, at: int) -> tuple[int, int]:
    number = 0
    while at < len(payload) and payload[at] == 0xFF:
        number, at = number + 255, at + 1
    return number + (payload[at] if at < len(payload) else 0), at + 1


def _hevc(data: bytes, prefix: int) -> bool:
    for unit in nal_units(data, prefix):
        kind = (unit[0] >> 1) & 63 if unit else 63
        if kind < 32:  # the first coded slice decides: 16 to 21 are the random access pictures
            return 16 <= kind <= 21
    return False


def _mpeg4(data: bytes, prefix: int) -> bool:
    return vop_type(data) == 0


def vop_type(data: bytes) -> int:
    """Coding type of an MPEG-4 part 2 picture: 0 I, 1 P, 2 B, 3 S; -1 if there is none."""
    at = data.find(b"\x00\x00\x01\xb6")
    return data[at + 4] >> 6 if 0 <= at < len(data) - 4 else -1


def _vp8(data: bytes, prefix: int) -> bool:
    return data[0] & 1 == 0


def _vp9(data: bytes, prefix: int) -> bool:
    first = data[0]
    if first >> 6 != 2:
        return False
    # Bits after the marker: two of profile (profile 3 adds one), show_existing_frame, frame_type.
    shift = 2 if first & 0b00110000 != 0b00110000 else 1
    return (first >> shift) & 0b11 == 0


_TESTS: dict[str, Callable[[bytes, int], bool]] = {
    "h264": _h264,
    "hevc": _hevc,
    "mpeg4": _mpeg4,
    "vp8": _vp8,
    "libvpx-vp8": _vp8,
    "vp9": _vp9,
    "libvpx-vp9": _vp9,
}
