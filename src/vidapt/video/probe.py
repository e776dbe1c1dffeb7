"""What a clip is, from its headers and its first frame."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import av
from av.video.frame import VideoFrame

from vidapt.errors import BrokenClip
from vidapt.video.container import Source, check_pixels, decoded, opened
from vidapt.video.limits import DEFAULT, Limits
from vidapt.video.order import first_shown
from vidapt.video.pictures import Album, describe, is_picture
from vidapt.video.pixels import quarter_turns, shown_size

Kind = Literal["video", "still", "animation", "folder"]

_GUESSING = frozenset({"mpeg", "mpegts", "mpegvideo", "m4v", "h263", "h264", "hevc", "obu"})
_TAG = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of a clip before it is decoded.

    Attributes:
        path: The file or folder.
        kind: What it is.
        duration_s: Seconds from the first frame to the end of the last; 0 for a still.
        rate: Average frames per second; 0 for a still.
        width: Pixels, after rotation.
        height: Pixels, after rotation.
        rotation: Degrees the stored picture is turned counter-clockwise before it is shown: 0, 90, 180, 270.
        codec: Name of the codec or picture format.
        frames: Number of frames, None when the headers do not say.
        estimated: Whether `frames` is rate times duration rather than a count.
    """

    path: Path
    kind: Kind
    duration_s: float
    rate: float
    width: int
    height: int
    rotation: int
    codec: str
    frames: int | None
    estimated: bool


def probe(path: str | Path, limits: Limits = DEFAULT) -> Probe:
    """Describe a clip cheaply: headers and one frame; all packets only if no header tells the duration.

    Args:
        path: A video, a picture (JPEG, PNG, WebP, GIF, BMP, TIFF) or a folder of pictures.
        limits: What it may cost.

    Raises:
        BrokenClip: If it is missing, empty, beyond a limit or not a clip at all.
    """
    path = Path(path)
    if is_picture(path):
        return of_album(path, describe(path, limits))
    with opened(path, limits, look=False) as source:
        described = of_headers(source)
        frame = _first_frame(source)
    height, width = shown_size(frame)
    check_pixels(path, width, height, limits)
    return replace(described, width=width, height=height, rotation=90 * quarter_turns(frame))


def of_headers(source: Source) -> Probe:
    """Describe an open video by its headers alone, as if it were not rotated.

    Raises:
        BrokenClip: If it is beyond a limit, or holds no packets where these have to be counted.
    """
    stream, limits = source.stream, source.limits
    check_pixels(source.path, stream.codec_context.width, stream.codec_context.height, limits)
    fraction = stream.average_rate or stream.guessed_rate or stream.base_rate
    rate = float(fraction) if fraction else 0.0
    duration, counted = _header_duration(source), stream.frames or None
    if duration is None:
        duration, counted = _scan(source, rate)
    if duration > limits.seconds:
        raise BrokenClip(
            source.path, f"it is {duration:.0f} s long, beyond the limit of {limits.seconds:g} s"
        )
    return Probe(
        path=source.path,
        kind="video",
        duration_s=duration,
        rate=rate,
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        rotation=0,
        codec=stream.codec_context.name,
        frames=counted or round(duration * rate) or None,
        estimated=counted is None,
    )


def of_album(path: Path, album: Album) -> Probe:
    """Describe a still, an animation or a folder of pictures."""
    return Probe(
        path=path,
        kind=album.kind,
        duration_s=album.duration_s,
        rate=album.frames / album.duration_s if album.duration_s else 0.0,
        width=album.width,
        height=album.height,
        rotation=0,
        codec=album.codec,
        frames=album.frames,
        estimated=False,
    )


def _first_frame(source: Source) -> VideoFrame:
    for frame in decoded(source):
        return frame
    raise BrokenClip(source.path, "none of its frames can be decoded")


def _header_duration(source: Source) -> float | None:
    """Seconds of video by the headers; None where the format has none or only guesses from the bit rate."""
    stream, container = source.stream, source.container
    if not _GUESSING.isdisjoint(container.format.name.split(",")):
        return None
    if stream.duration and stream.duration > 0:
        return float(stream.duration * source.time_base)
    start = float((stream.start_time or 0) * source.time_base)
    tagged = _TAG.fullmatch(stream.metadata.get("DURATION", ""))
    if tagged:  # Matroska: the moment the stream ends, as hours, minutes, seconds
        hours, minutes, seconds = (float(part) for part in tagged.groups())
        return max(0.0, 3600 * hours + 60 * minutes + seconds - start) or None
    if container.duration and container.duration > 0:
        lead = max(0.0, start - (container.start_time or 0) / av.time_base)
        return max(0.0, container.duration / av.time_base - lead) or None
    return None


def _scan(source: Source, rate: float, origin: int | None = None) -> tuple[float, int]:
    """Seconds and number of frames by reading (not decoding) every packet of the file.

    Where packets alone do not say which picture is the first to be seen, the decoder does, and the file is
    read again, leaving out what is stamped before that `origin`.
    """
    first, end, count = math.inf, -math.inf, 0
    entry: float | None = None
    with opened(source.path, source.limits, source.deadline) as again:
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
            return _scan(source, rate, origin)
    if end > first:
        return float((end - first) * source.time_base), count
    return (count / rate if rate else 0.0), count
