"""What a clip is, from its headers and its first frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vidapt.errors import BrokenClip
from vidapt.video.container import Source, check_pixels, decoded, opened
from vidapt.video.guard import guarded
from vidapt.video.length import measure
from vidapt.video.limits import DEFAULT, Limits
from vidapt.video.pictures import Album, describe, is_picture, refuse_rate
from vidapt.video.pose import Pose, pose_of

Kind = Literal["video", "still", "animation", "folder"]


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of a clip before it is decoded.

    Attributes:
        path: The file or folder.
        kind: What it is.
        duration_s: Seconds from the first frame to the end of the last; 0 for a still.
        rate: Average frames per second; 0 for a still.
        width: Pixels as shown: after rotation, and square where those of the file are not.
        height: Pixels as shown.
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


def probe(path: str | Path, limits: Limits = DEFAULT, rate: float | None = None) -> Probe:
    """Describe a clip cheaply: headers and one frame; all packets only if no index tells the duration.

    Args:
        path: A video, a picture (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC) or a folder of pictures.
        limits: What it may cost.
        rate: Pictures per second of a folder.

    Raises:
        BrokenClip: If it is missing, empty, beyond a limit or not a clip at all.
    """
    path = Path(path)
    with guarded(path):
        if is_picture(path):
            return of_album(path, describe(path, limits, rate))
        refuse_rate(path, rate)
        with opened(path, limits, look=False) as source:
            described = of_headers(source)
            pose, height, width = _first_look(source)
    check_pixels(path, width, height, limits)
    return replace(described, width=width, height=height, rotation=90 * pose.quarter_turns)


def of_headers(source: Source) -> Probe:
    """Describe an open video by its headers alone, as if it were not rotated.

    Raises:
        BrokenClip: If it is beyond a limit, or holds no packets where these have to be counted.
    """
    stream, limits = source.stream, source.limits
    check_pixels(source.path, stream.codec_context.width, stream.codec_context.height, limits)
    length = measure(source)
    duration, counted = length.seconds, length.frames
    if duration > limits.seconds:
        raise BrokenClip(
            source.path, f"it is {duration:.0f} s long, beyond the limit of {limits.seconds:g} s"
        )
    rate = float(source.rate or 0) or (counted / duration if counted and duration else 0.0)
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


def _first_look(source: Source) -> tuple[Pose, int, int]:
    """How the first frame is shown, and its height and width then."""
    for frame in decoded(source):
        pose = pose_of(source, frame)
        return pose, *pose.shown_size(frame)
    raise BrokenClip(source.path, "none of its frames can be decoded")
