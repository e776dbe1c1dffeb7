"""Finds the packets that are needed for given moments, by reading packets and decoding none.

A run is a stretch of packets that starts at an entry point and reaches far enough to show some of the
wanted moments. Packets between two runs are never decoded; where the file has an index, most are not
even read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import av
from av.packet import Packet
from av.video.stream import VideoStream

from vidapt.video.container import Source
from vidapt.video.entries import Entries
from vidapt.video.order import first_shown

VideoPacket: TypeAlias = "Packet[VideoStream]"

SEEK_GAP_S = 1.0
"""Moments closer than this are reached by reading on."""

_SEEK_TRIES = 6
_RUN_BYTES = 512 * 1024**2


class UnreliableError(Exception):
    """The file's timestamps, index or key frames contradict each other; only a plain decode is safe."""


@dataclass(slots=True)
class Run:
    """Packets in decoding order, the first of them an entry point, and the moments they answer.

    Attributes:
        packets: Everything from the entry point to at least the last packet needed.
        ticks: Wanted moments, ascending, in ticks of the stream's time base.
    """

    packets: list[VideoPacket]
    ticks: list[int] = field(default_factory=list)


class RunReader:
    """Reads runs from an open file, front to back.

    Args:
        source: The file, at its start.

    Attributes:
        origin: Tick of the first picture shown.
        tells_turn: Whether the first packet says which way up its picture is.

    Raises:
        UnreliableError: If the beginning of the file is no entry point or has no timestamps.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._entries = Entries(source.stream)
        self._demuxer = source.packets()
        self._indexed = source.is_indexed
        # Matroska's index lies at the end of the file; FFmpeg reads it when it seeks for the first time.
        self._lazy = "matroska" in source.container.format.name
        self._gap = int(SEEK_GAP_S / source.time_base)
        self._packets: list[VideoPacket] = []
        self._starts: list[int] = []  # where the entry points are in self._packets
        self._bytes = 0
        self._reached = -(1 << 63)  # the newest dts: every later packet is shown at or after it
        self._newest = -(1 << 63)  # the greatest pts read
        self._ended = False
        self.origin = self._find_origin()
        self.tells_turn = self._entries.tells_turn(self._packets[0])

    @property
    def end(self) -> int | None:
        """Tick at which the last picture ends if the end of the file was reached, otherwise None."""
        if not self._ended:
            return None
        last = max(self._packets, key=shown_at)
        rate = self._source.rate
        interval = last.duration or (int(1 / (rate * self._source.time_base)) if rate else 0)
        return shown_at(last) + interval

    def runs(self, ticks: Sequence[int]) -> Iterator[Run]:
        """Yield the runs that answer `ticks` (ascending), each moment in exactly one run.

        Raises:
            UnreliableError: If a moment cannot be reached from an entry point before it.
        """
        run: Run | None = None
        for tick in ticks:
            packets = self._reach(tick)
            if run is None or packets is not run.packets:
                if run is not None:
                    yield run
                run = Run(packets)
            run.ticks.append(tick)
        if run is not None:
            yield run

    def _find_origin(self) -> int:
        """Tick of the first picture shown: later packets are shown no earlier than they are decoded.

        Whether pictures shown before the first key frame come out, only the decoder can say.
        """
        if not self._read() or not self._starts:
            raise UnreliableError("the file does not start with an entry point")
        first: int | None = None
        while True:
            newest = self._packets[-1]
            if not newest.is_discard:
                first = shown_at(newest) if first is None else min(first, shown_at(newest))
            if (first is not None and self._reached >= first) or not self._read():
                break
        if first is not None and first < shown_at(self._packets[0]):
            first = first_shown(self._source)
        if first is None:
            raise UnreliableError("no picture of the file is shown")
        return first

    def _reach(self, tick: int) -> list[VideoPacket]:
        """Read until every packet shown by `tick` is known; return them from the nearest entry point on."""
        self._drop_before(tick)
        if self._worth_seeking(tick):
            self._seek(tick)
        while self._reached <= tick and not self._ended:
            self._read(tick)
        if not self._packets or not self._starts or shown_at(self._packets[self._starts[0]]) > tick:
            raise UnreliableError("no entry point lies before a wanted moment")
        return self._packets

    def _drop_before(self, tick: int) -> None:
        """Let the packets begin at the newest entry point shown by `tick`."""
        reachable = [at for at in self._starts if shown_at(self._packets[at]) <= tick]
        if reachable and reachable[-1] > 0:
            self._packets = self._packets[reachable[-1] :]
            self._starts = [at - reachable[-1] for at in self._starts if at >= reachable[-1]]
            self._bytes = sum(packet.size for packet in self._packets)

    def _read(self, tick: int | None = None) -> bool:
        """Read one packet; if it is an entry point shown by `tick`, what came before is dropped."""
        packet = next(self._demuxer, None)
        if packet is None:
            self._ended = True
            return False
        self._accept(packet, tick)
        return True

    def _accept(self, packet: VideoPacket, tick: int | None) -> None:
        shown = shown_at(packet)
        if packet.dts is not None:
            if packet.dts <= self._reached or packet.dts > shown:
                raise UnreliableError("timestamps go backwards")
            self._reached = packet.dts
        if self._entries.is_entry(packet):
            if tick is not None and shown <= tick:
                self._packets, self._starts, self._bytes = [], [], 0
            self._starts.append(len(self._packets))
        self._bytes += packet.size
        if self._bytes > _RUN_BYTES:
            raise UnreliableError("a run of packets is too long to be held")
        self._newest = max(self._newest, shown)
        self._packets.append(packet)

    def _worth_seeking(self, tick: int) -> bool:
        """Whether the index knows a key frame between what was read and `tick`, and far enough ahead."""
        if self._ended or not self._indexed or tick - self._newest < self._gap:
            return False
        index = self._source.stream.index_entries
        at = index.search_timestamp(tick) if len(index) else -1
        if at >= 0 and index[at].timestamp - self._newest >= self._gap:
            return True
        lazy, self._lazy = self._lazy, False
        return lazy

    def _seek(self, tick: int) -> None:
        """Continue at the newest entry point shown by `tick`, or where reading had stopped."""
        last = self._packets[-1]
        goal = tick
        for _ in range(_SEEK_TRIES):
            first = self._jump(goal)
            if shown_at(first) <= self._newest:
                self._resume_after(first, last)
                return
            if shown_at(first) <= tick and self._entries.is_entry(first):
                self._packets, self._starts, self._bytes = [], [], 0
                self._reached = -(1 << 63)
                self._accept(first, tick)
                return
            goal = min(goal, first.dts if first.dts is not None else shown_at(first)) - 1
        raise UnreliableError("seeking finds no entry point")

    def _jump(self, goal: int) -> VideoPacket:
        try:
            self._source.container.seek(goal, stream=self._source.stream)
        except av.FFmpegError as error:
            raise UnreliableError("the file cannot be sought in") from error
        self._demuxer = self._source.packets()
        first = next(self._demuxer, None)
        if first is None:
            raise UnreliableError("seeking leads to the end of the file")
        return first

    def _resume_after(self, packet: VideoPacket | None, last: VideoPacket) -> None:
        """Read over what was read before, up to and including `last`."""
        while packet is not None and (packet.pts, packet.size) != (last.pts, last.size):
            packet = next(self._demuxer, None)
        if packet is None:
            raise UnreliableError("a packet cannot be found again")


def answers(run: Run) -> dict[int, int]:
    """Map each moment of a run to the tick of the picture shown then: the last one not after it.

    Raises:
        UnreliableError: If two pictures claim the same tick, or none is shown by one of the moments.
    """
    shown = sorted(shown_at(packet) for packet in run.packets if not packet.is_discard)
    if any(a == b for a, b in pairwise(shown)):
        raise UnreliableError("two pictures have the same timestamp")
    found: dict[int, int] = {}
    for tick in run.ticks:
        at = bisect_right(shown, tick) - 1
        if at < 0:
            raise UnreliableError("no picture is shown by a wanted moment")
        found[tick] = shown[at]
    return found


def shown_at(packet: VideoPacket) -> int:
    """Tick at which the picture of a packet is shown.

    Raises:
        UnreliableError: If the file does not say.
    """
    if packet.pts is None:
        raise UnreliableError("a packet has no timestamp")
    return packet.pts
