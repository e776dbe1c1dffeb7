"""Stretches of a film written as clips of their own, in one pass over it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidapt.errors import BrokenClip
from vidapt.files import write_file
from vidapt.video.choose import CLOSE_S
from vidapt.video.container import decoded, opened
from vidapt.video.guard import guarded
from vidapt.video.limits import DEFAULT, Limits
from vidapt.video.pixels import Canvas
from vidapt.video.pose import Pose, aspect_of, turn_of
from vidapt.video.probe import of_headers

_WORK = 20.0
"""Seconds that writing one second of film may take."""

_CODING = {"crf": "18", "preset": "veryfast"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a stretch begins, in seconds from the film's first frame, and the file that it becomes."""

    start_s: float
    path: Path


@dataclass(frozen=True, slots=True)
class _Shown:
    """A frame as it is shown: seconds from the first one, [H, W, 3] uint8 RGB."""

    time_s: float
    pixels: NDArray[np.uint8]


def write_pieces(film: Path, pieces: Sequence[Piece], limits: Limits = DEFAULT) -> list[int]:
    """Write the stretches of a film, each up to where the next one begins, as H.264 without sound.

    Every frame is in exactly one of them, upright, and as far from the others as it was. A file appears under
    its name only when it is complete.

    Args:
        film: A video file.
        pieces: In order; the first one begins at 0.
        limits: What the film may cost; its clock runs as long as writing it takes.

    Returns:
        The frames of each piece; 0 of one in the midst of the film in which no frame begins, which becomes
        no file.

    Raises:
        BrokenClip: If the film cannot be read, or ends before its last stretch.
    """
    counts = [0] * len(pieces)
    with guarded(film):
        for at, frames in groupby(_frames(film, limits), lambda shown: _piece_of(shown.time_s, pieces)):
            counts[at] = _write(pieces[at], frames)
    last = max((at for at, count in enumerate(counts) if count), default=-1)
    if last + 1 < len(pieces):
        start_s = pieces[last + 1].start_s
        raise BrokenClip(film, f"no frame can be decoded of the stretch from {start_s:.3f} s on")
    return counts


def _write(piece: Piece, frames: Iterable[_Shown]) -> int:
    """Put a piece in place; returns its frames."""
    count = 0

    def write(part: Path) -> None:
        nonlocal count
        count = _encode(part, frames)

    write_file(piece.path, write)
    return count


def _piece_of(time_s: float, pieces: Sequence[Piece]) -> int:
    return max(0, bisect_right(pieces, time_s + CLOSE_S, key=lambda piece: piece.start_s) - 1)


def _frames(film: Path, limits: Limits) -> Iterator[_Shown]:
    """All frames of a film, in the order they are shown."""
    with opened(film, limits) as source:
        source.deadline += _WORK * of_headers(source).duration_s
        first: int | None = None
        pose: Pose | None = None
        for frame in decoded(source):
            if pose is None:
                pose = Pose(turn_of(frame), aspect_of(source))
                canvas = Canvas(film, 1, _even(pose.shown_size(frame)), limits)
            first = (frame.pts or 0) if first is None else first
            canvas.put((0,), frame, pose)
            yield _Shown(float(((frame.pts or 0) - first) * source.time_base), canvas.pixels[0])


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """A size that 4:2:0 colour can have: a row or a column less."""
    return max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2)


def _encode(path: Path, frames: Iterable[_Shown]) -> int:
    """Write frames, as far from the first one as they are shown; returns how many."""
    count, ticks, step, start_s = 0, 0, 0, 0.0
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", options=_CODING)
        stream.time_base = stream.codec_context.time_base = _TICK
        stream.pix_fmt = "yuv420p"
        for shown in frames:
            if not count:
                stream.height, stream.width = shown.pixels.shape[:2]
                start_s = shown.time_s
            else:
                step = max(1, round((shown.time_s - start_s) / _TICK) - ticks)
            ticks += step
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(shown.pixels), format="rgb24")
            frame.pts, frame.time_base = ticks, _TICK
            container.mux(_lasting(stream.encode(frame), step))
            count += 1
        container.mux(_lasting(stream.encode(None), step))
    return count


def _lasting(packets: Sequence[Packet[VideoStream]], ticks: int) -> Sequence[Packet[VideoStream]]:
    """Have frames last so long. All but the last one in fact last until the next one."""
    for packet in packets:
        packet.duration = ticks
    return packets


_TICK = Fraction(1, 90_000)
"""Seconds; a multiple of nearly every camera's clock."""
