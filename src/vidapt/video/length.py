"""How long the film itself is. What headers say of it is a claim, and checked where it may be another's.

Sound may go on after the last picture, a container has one length for both, and FFmpeg fills in the one
where it does not know the other. The stamps of the film's last packets tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import av
from av.container import InputContainer
from av.index import IndexEntries

from vidapt.errors import BrokenClip
from vidapt.video.clock import GUESSED_BACK_S
from vidapt.video.container import BARE, BROADCAST, Source, open_container
from vidapt.video.order import first_shown

EARLY_S = 0.5
"""A file may end this much before its header says so and still count as whole."""

_UNSURE = BARE | BROADCAST | {"ogg"}
"""Formats without an index to seek the last packets by; all are read. Their headers have no lengths, or
guesses from the bit rate, and their clocks may begin anew."""

_HEAD_PACKETS = 16
"""Packets read to find the first picture: reordered pictures come no later (ITU-T H.264 A.3.1)."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long a film is.

    Attributes:
        seconds: From the first frame to the end of the last.
        frames: How many there are, None if that was not counted.
    """

    seconds: float
    frames: int | None


def measure(source: Source) -> Length:
    """Find out how long the film is, by its index, its last packets or, where nothing else tells, all.

    A file that was cut off is as long as its header says: whoever reads it meets its end sooner.

    Args:
        source: The file, at whatever position; it is opened again if need be.

    Raises:
        BrokenClip: If it holds no packets where these have to be counted.
    """
    length = _by_index(source)
    if length is None and not source.is_any(_UNSURE):
        length = _by_last_packets(source)
    return length or _by_all_packets(source)


def _by_index(source: Source) -> Length | None:
    """In MP4 and AVI, whose headers count the frames of each stream, unless they come in fragments."""
    stream = source.stream
    if not stream.frames or not stream.duration or not source.is_any(frozenset({"mov", "avi"})):
        return None
    said = float(stream.duration * source.time_base)
    entries = stream.index_entries
    first = _first_entry(entries)
    listed = float((entries[-1].timestamp - first) * source.time_base) if first is not None else 0.0
    if listed <= said + EARLY_S:
        return Length(said, stream.frames)
    return Length(listed * len(entries) / (len(entries) - 1), len(entries))


def _first_entry(entries: IndexEntries) -> int | None:
    """Stamp of the first entry that is shown: an edit list may hide those before it."""
    return next((entry.timestamp for entry in entries if not entry.is_discard), None)


@dataclass
class _Ends:
    """Seconds at which streams begin and end, as far as packets were read.

    Attributes:
        first: When the first picture of the film is shown.
        film: When the last one ends.
        any: When any stream ends.
        newest: When the newest packet of the film is decoded.
        falls: Whether one of them is decoded sooner than one before it, by more than a muxer's fault.
    """

    first: float = math.inf
    film: float = -math.inf
    any: float = -math.inf
    newest: float = -math.inf
    falls: bool = field(default=False)

    def read(self, source: Source, container: InputContainer, most: int | None = None) -> None:
        """Take in the packets that follow, of all streams; `most` of the film's."""
        film, interval = source.stream.index, float(1 / source.rate) if source.rate else 0.0
        count = 0
        for packet in container.demux():
            source.check_clock()
            if not packet.size or packet.pts is None or packet.time_base is None:
                continue
            shown = float(packet.pts * packet.time_base)
            last = float((packet.duration or 0) * packet.time_base)
            self.any = max(self.any, shown + last)
            if packet.stream_index != film:
                continue
            if not packet.is_discard:
                self.first = min(self.first, shown)
                # Where a format has no durations, FFmpeg makes up a tick.
                self.film = max(self.film, shown + (last if last > interval / 2 else interval))
            decoded = float(packet.dts * packet.time_base) if packet.dts is not None else self.newest
            self.falls |= decoded < self.newest - GUESSED_BACK_S
            self.newest = decoded
            count += 1
            if count == most:
                return


def _by_last_packets(source: Source) -> Length | None:
    """Read the first packets and, behind the last key frame, the last ones; None if that does not work."""
    head, tail = _Ends(), _Ends()
    try:
        with open_container(source.path, blind=True) as container:
            head.read(source, container, _HEAD_PACKETS)
            if not container.duration or container.duration <= 0:
                return None
            until = (container.start_time or 0) + container.duration
            stream = container.streams[source.stream.index]
            container.seek(int(until / av.time_base / source.time_base), stream=stream)
            tail.read(source, container)
        if not math.isfinite(tail.film):  # not every format can be sought in
            with open_container(source.path, blind=True) as container:
                tail.read(source, container)
    except (av.FFmpegError, IndexError):
        return None
    end = until / av.time_base
    source.restarts = tail.falls
    if tail.falls or not head.first < tail.film < end + source.limits.seconds:
        return None
    # Where no stream goes on for as long as the container says, the file was cut off.
    cut = tail.any + EARLY_S < end
    return Length((end if cut else tail.film) - head.first, None)


def _by_all_packets(source: Source, origin: int | None = None) -> Length:
    """Read (not decode) every packet of the film.

    Where packets alone do not say which picture is the first to be seen, the decoder does, and the file is
    read again, leaving out what is stamped before that `origin`.
    """
    rate = float(source.rate or 0)
    first, end, count = math.inf, -math.inf, 0
    entry: float | None = None
    with source.again() as again:
        for packet in again.packets():
            if packet.is_discard or (origin is not None and packet.pts is not None and packet.pts < origin):
                continue
            count += 1
            if packet.pts is not None:
                if entry is None:
                    entry = packet.pts if packet.is_keyframe else math.inf
                first, end = min(first, packet.pts), max(end, packet.pts + (packet.duration or 0))
            if (end - first) * again.time_base > source.limits.seconds:
                break
    if not count:
        raise BrokenClip(source.path, "it holds no pictures")
    if entry is not None and first < entry and origin is None:
        origin = first_shown(source)
        if origin is not None and origin > first:
            return _by_all_packets(source, origin)
    if end > first:
        return Length(float((end - first) * source.time_base), count)
    return Length(count / rate if rate else 0.0, count)
