"""One continuous time line for streams whose clock begins anew on the way.

Transport and program streams may be put behind one another byte by byte, and recorders split and join them
that way. Each part brings a clock of its own. Players go on with the next part where the one before it
ended, and so does this: a jump is replaced by one frame's distance, as FFmpeg's own tools do.
"""

from __future__ import annotations

from av.packet import Packet
from av.video.stream import VideoStream

BACK_S = 0.1
"""Stamps that fall back by more belong to a new clock; smaller faults are those of a muxer."""

GUESSED_BACK_S = 1.0
"""The same where a container has no decoding times, as Matroska, and FFmpeg guesses them."""

AHEAD_S = 10.0
"""Stamps that jump ahead by more belong to a new clock, in formats that know of such; FFmpeg's threshold."""


class Clock:
    """Moves the stamps of packets, in the order in which they are read, onto one time line.

    Args:
        tick_s: Seconds per tick.
        interval: Ticks from one frame to the next, where packets do not say how long they last.
        jumps: Whether a leap ahead means a new clock, as in formats made for broadcasts.
        back_s: How far stamps must fall back to belong to a new clock.
    """

    def __init__(self, tick_s: float, interval: int, *, jumps: bool, back_s: float = BACK_S) -> None:
        self._back, self._ahead = round(back_s / tick_s), round(AHEAD_S / tick_s)
        self._interval, self._jumps = max(1, interval), jumps
        self._shift = 0
        self._last: int | None = None  # the newest decoding time, moved
        self._step = self._interval
        self._end = 0  # where the last picture shown so far ends, moved

    def move(self, packet: Packet[VideoStream]) -> None:
        """Write the moved stamps into a packet; only decoding times, which rise, tell of a new clock."""
        read = packet.dts
        if read is not None and self._last is not None and self._is_new(read + self._shift - self._last):
            shown = packet.pts if packet.pts is not None else read
            # The first picture of a part is shown when the last one of the part before it ends.
            self._shift = max(self._end - shown, self._last + self._step - read)
        if self._shift:
            packet.pts = None if packet.pts is None else packet.pts + self._shift
            packet.dts = None if read is None else read + self._shift
        self._step = packet.duration or self._interval
        if read is not None:
            self._last = read + self._shift
        if packet.pts is not None:
            self._end = max(self._end, packet.pts + self._step)

    def _is_new(self, step: int) -> bool:
        return step < -self._back or (self._jumps and step > self._ahead)
