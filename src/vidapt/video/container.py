"""Opens a video file for reading, with no more trust in it than it deserves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidapt.errors import BrokenClip
from vidapt.files import exists
from vidapt.video.clock import BACK_S, GUESSED_BACK_S, Clock
from vidapt.video.fields import Fields, may_be_fields
from vidapt.video.film import candidates, film
from vidapt.video.limits import Limits

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,ivf,mxf,nut,dv,"
    "m4v,h263,h264,hevc,obu"
)
"""Containers that hold video; not play-lists and scripts, which can name other files or hosts."""

INDEXED = frozenset({"mov", "matroska", "avi"})
"""Containers that say where key frames are; in others FFmpeg has to search, and may miss."""

BROADCAST = frozenset({"mpegts", "mpeg"})
"""Containers whose clock may begin anew at any point, by their own definition."""

BARE = frozenset({"m4v", "h263", "h264", "hevc", "mpegvideo", "obu", "dv"})
"""Streams without a container, of which FFmpeg takes the rate to be 25 unless the codec says more."""

_MOST_RATE = 1000
"""Frames per second; a greater number is a clock's rate and not a film's."""


@dataclass(slots=True)
class Source:
    """An open video file.

    Attributes:
        path: The file.
        container: The open container.
        stream: The video stream that is read.
        limits: What the clip may cost.
        deadline: `time.monotonic()` at which patience ends.
        errors: Packets that could not be read or decoded so far.
        restarts: Whether the clock is known to begin anew on the way, although the file has an index.
    """

    path: Path
    container: InputContainer
    stream: VideoStream
    limits: Limits
    deadline: float
    errors: int = 0
    restarts: bool = False

    @property
    def is_indexed(self) -> bool:
        """Whether the container says where key frames are, and can be believed."""
        return self.is_any(INDEXED) and not self.restarts

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the stream's timestamps."""
        return self.stream.time_base or Fraction(1, 90000)

    @property
    def rate(self) -> Fraction | None:
        """Frames per second, as the codec or the container says; None where none of them does."""
        stream = self.stream
        told = [stream.average_rate, stream.guessed_rate, stream.base_rate]
        if self.is_any(BARE):
            told.insert(0, stream.codec_context.framerate)
        return next((rate for rate in told if rate and rate <= _MOST_RATE), None)

    @property
    def rate_is_assumed(self) -> bool:
        """Whether the file says nothing about time at all, so that frames are spaced as FFmpeg assumes."""
        return self.is_any(BARE) and not self.stream.codec_context.framerate

    def is_any(self, formats: frozenset[str]) -> bool:
        """Whether the container is one of some formats, by FFmpeg's names."""
        return not formats.isdisjoint(self.container.format.name.split(","))

    @contextmanager
    def again(self, *, look: bool = True) -> Iterator[Source]:
        """Open the file once more, at its start and on the same clock; see `opened`."""
        with opened(self.path, self.limits, self.deadline, look=look) as other:
            other.restarts = self.restarts
            yield other

    def check_clock(self) -> None:
        """Raise `BrokenClip` once the clip has taken longer than its limit."""
        if time.monotonic() > self.deadline:
            raise BrokenClip(self.path, f"reading it took longer than the limit of {self.limits.wall_s:g} s")

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets of the video stream from the current position on, none of them empty.

        Each holds a whole frame, and where parts of a film bring clocks of their own, all stamps are of one
        clock. Where the file cannot be read any further it ends.
        """
        packets = self._packets()
        extradata = bytes(self.stream.codec_context.extradata or b"")
        if may_be_fields(self.stream.codec_context.name, extradata):
            packets = Fields(extradata).joined(packets)
        return packets if self.is_indexed else self._of_one_clock(packets)

    def _of_one_clock(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
        interval = int(1 / (self.rate * self.time_base)) if self.rate else 0
        back_s = GUESSED_BACK_S if self.restarts else BACK_S
        clock = Clock(float(self.time_base), interval, jumps=self.is_any(BROADCAST), back_s=back_s)
        for packet in packets:
            clock.move(packet)
            yield packet

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        demuxer = self.container.demux(self.stream)
        while True:
            try:
                packet = next(demuxer, None)
            except av.FFmpegError:
                self.errors += 1
                return
            except IndexError:
                # At the end PyAV marks every stream, and trips over those that a broken transport stream
                # announced on the way.
                return
            if packet is None:
                return
            self.check_clock()
            if packet.size:  # the last packet is empty, and so are AVI's marks for a repeated frame
                yield packet


@contextmanager
def opened(
    path: Path, limits: Limits, deadline: float | None = None, *, look: bool = True
) -> Iterator[Source]:
    """Open a video file.

    Args:
        path: The file.
        limits: What it may cost.
        deadline: Moment on the monotonic clock at which patience ends; None starts the clock now.
        look: Whether FFmpeg may decode a few frames to find out what headers do not say. In MP4 the
            headers say all that reading packets needs, and looking costs as much as several frames.

    Raises:
        BrokenClip: If it is missing, empty, too large, or holds no video.
    """
    check_file(path, limits)
    blind = not look and _is_mp4(path)
    with open_container(path, blind=blind) as container:
        streams = candidates(path, container)
        stream = streams[0]
        if len(streams) > 1:
            with open_container(path, blind=blind) as again:
                chosen = film(again, [one.index for one in streams])
            stream = next(one for one in streams if one.index == chosen)
        stream.codec_context.thread_count = 1  # several clips at once use the cores better than one clip does
        stream.codec_context.options = {"max_pixels": str(limits.pixels)}
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        started = time.monotonic() if deadline is None else deadline - limits.wall_s
        yield Source(path, container, stream, limits, started + limits.wall_s)


def open_container(path: Path, *, blind: bool) -> InputContainer:
    """Open a file for its packets.

    Args:
        path: The file.
        blind: Whether FFmpeg must not decode anything to find out what headers do not say.

    Raises:
        BrokenClip: If it is no video.
    """
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    if blind:
        options |= {"skip_frame": "all", "analyzeduration": "1"}
    try:
        # "file:" keeps a name such as "concat:a|b" from being understood as anything but a name.
        return av.open(f"file:{path.resolve()}", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BrokenClip(path, f"it cannot be opened as a video ({_why(error)})") from error


def decoded(source: Source) -> Iterator[VideoFrame]:
    """Yield the frames a plain decode from the start gives, passing over packets that cannot be decoded."""
    context = source.stream.codec_context
    for packet in chain(source.packets(), (None,)):
        source.check_clock()
        try:
            yield from context.decode(packet)
        except av.FFmpegError:
            source.errors += 1


def check_file(path: Path, limits: Limits) -> None:
    """Raise `BrokenClip` unless `path` is a regular, non-empty file within the limits."""
    if not exists(path):
        raise BrokenClip(path, "there is no such file")
    if not path.is_file():
        raise BrokenClip(path, "it is not a regular file")
    size = path.stat().st_size
    if size == 0:
        raise BrokenClip(path, "it is empty (zero bytes)")
    if size > limits.file_bytes:
        raise BrokenClip(path, f"it has {size} bytes, more than the limit of {limits.file_bytes}")


def check_pixels(path: Path, width: int, height: int, limits: Limits) -> None:
    """Raise `BrokenClip` if a frame of this size is empty or beyond the limit."""
    if width < 1 or height < 1:
        raise BrokenClip(path, "its frames have no size")
    if width * height > limits.pixels:
        raise BrokenClip(path, f"its frames of {width}x{height} exceed the limit of {limits.pixels} pixels")


def _is_mp4(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
