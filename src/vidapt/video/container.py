"""Opens a video file for reading, with no more trust in it than it deserves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidapt.errors import BrokenClip
from vidapt.files import exists
from vidapt.video.limits import Limits

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,ivf,mxf,nut,dv,"
    "m4v,h263,h264,hevc,obu"
)
"""Containers that hold video; not play-lists and scripts, which can name other files or hosts."""


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
    """

    path: Path
    container: InputContainer
    stream: VideoStream
    limits: Limits
    deadline: float
    errors: int = 0

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the stream's timestamps."""
        return self.stream.time_base or Fraction(1, 90000)

    def check_clock(self) -> None:
        """Raise `BrokenClip` once the clip has taken longer than its limit."""
        if time.monotonic() > self.deadline:
            raise BrokenClip(self.path, f"reading it took longer than the limit of {self.limits.wall_s:g} s")

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets of the video stream from the current position on, none of them empty.

        Where the file cannot be read any further it ends.
        """
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
    try:
        blind = {} if look or not _is_mp4(path) else {"skip_frame": "all", "analyzeduration": "1"}
        # "file:" keeps a name such as "concat:a|b" from being understood as anything but a name.
        container = av.open(
            f"file:{path.resolve()}",
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file"} | blind,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BrokenClip(path, f"it cannot be opened as a video ({_why(error)})") from error
    with container:
        stream = _video_stream(path, container)
        stream.codec_context.thread_count = 1  # several clips at once use the cores better than one clip does
        stream.codec_context.options = {"max_pixels": str(limits.pixels)}
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        started = time.monotonic() if deadline is None else deadline - limits.wall_s
        yield Source(path, container, stream, limits, started + limits.wall_s)


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


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not Disposition.attached_pic & s.disposition]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise BrokenClip(path, f"it holds no video, only {' and '.join(kinds) or 'nothing'}")
    # A stream whose codec this build of FFmpeg does not know has no context, whatever the type says.
    if cast("object", streams[0].codec_context) is None:
        raise BrokenClip(path, "its video codec is not known")
    return streams[0]


def _is_mp4(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
