"""Frames for given moments out of a video file: the fast way, and the plain one it falls back to."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
from av.video.frame import VideoFrame

from vidapt.video.choose import CLOSE_S
from vidapt.video.container import Source, decoded
from vidapt.video.order import hides_order, may_hide_order
from vidapt.video.pose import UPRIGHT, Pose, Turn, aspect_of, turn_of
from vidapt.video.runs import Run, RunReader, UnreliableError, VideoPacket, answers, shown_at

SKIPPABLE = frozenset({"h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video"})
"""Codecs whose decoder, told to pass over pictures nothing refers to, leaves all others bit-identical."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture and the rows of the result it fills.

    Attributes:
        rows: Indices into the wanted times.
        time_s: When it is shown, in seconds from the first frame.
        frame: The decoded picture.
    """

    rows: tuple[int, ...]
    time_s: float
    frame: VideoFrame


@dataclass(slots=True)
class Findings:
    """What was met while picking.

    Attributes:
        end_s: Second the last picture ends, None if the end of the file was not reached.
        errors: Packets that could not be read or decoded.
        damaged: Moments whose picture is damaged.
        plain: Why every frame had to be decoded; empty if that was not so.
        turn: Which way up the first frame of the file is, None if it was not decoded.
        turned: Whether any frame says that it is not upright.
        aspect: Width of a pixel by its height, None before a frame was decoded.
        transfer: How light was coded (ITU-T H.273), 2 if that is not known.
    """

    end_s: float | None = None
    errors: int = 0
    damaged: int = 0
    plain: str = ""
    turn: Turn | None = None
    turned: bool = False
    aspect: Fraction | None = None
    transfer: int = 2

    def look(self, source: Source, frame: VideoFrame, *, first: bool) -> None:
        """Take down how a decoded frame is shown; `first` if it is the first one of the file."""
        # Not of every frame: PyAV's side data and its frame hold each other, and stay in memory for long.
        if first or self.aspect is None:
            turn = turn_of(frame)
            self.turned |= turn != UPRIGHT
            self.turn = turn if first else self.turn
        else:
            self.turned |= frame.rotation != 0
        if self.aspect is None:
            self.aspect, self.transfer = aspect_of(source), frame.color_trc

    def pose(self, source: Source) -> Pose:
        """How the clip's frames are shown, all of them alike: as the first one of the file is.

        Some files say which way up they are with their key frames only, or begin to on their way.
        """
        turn = self.turn
        if turn is None:
            turn = _first_turn(source) if self.turned else UPRIGHT
        return Pose(turn, self.aspect or Fraction(1))


def _first_turn(source: Source) -> Turn:
    with source.again(look=False) as again:
        return next((turn_of(frame) for frame in decoded(again)), UPRIGHT)


def pick(source: Source, times: Sequence[float], findings: Findings) -> Iterator[Shown]:
    """Yield the picture shown at each of `times`: the last one that does not come after it.

    Args:
        source: An open video at its start.
        times: Seconds from the first frame, in any order, repeats allowed.
        findings: Filled in while picking.

    Yields:
        Pictures in the order they are decoded. A row may come again with another picture, and then the
        later one is right: what was found before the file's index proved wrong is not trusted.

    Raises:
        BrokenClip: If a limit is exceeded.
    """
    try:
        yield from _fast(source, times, findings)
    except UnreliableError as error:
        findings.plain = str(error)
        with source.again() as again:
            yield from _plain(again, times, findings)


def _fast(source: Source, times: Sequence[float], findings: Findings) -> Iterator[Shown]:
    reader = RunReader(source)
    findings.turned = reader.tells_turn
    scale = source.time_base
    rows: dict[int, list[int]] = {}
    for row, moment in enumerate(times):
        tick = reader.origin + math.floor((moment + CLOSE_S) * scale.denominator / scale.numerator)
        rows.setdefault(max(tick, reader.origin), []).append(row)
    for run in reader.runs(sorted(rows)):
        filled: dict[int, list[int]] = {}
        for tick, shown in answers(run).items():
            filled.setdefault(shown, []).extend(rows[tick])
        for frame in _decode_run(source, run, set(filled), findings, reader.origin):
            shown = frame.pts or 0
            yield Shown(tuple(filled[shown]), float((shown - reader.origin) * scale), frame)
    findings.errors = source.errors
    if reader.end is not None:
        findings.end_s = float((reader.end - reader.origin) * scale)


def _decode_run(
    source: Source, run: Run, wanted: set[int], findings: Findings, origin: int
) -> Iterator[VideoFrame]:
    """Decode a run as far as needed and yield the frames whose tick is wanted, each exactly once.

    Where the order of the frames is in doubt, all of the run is decoded to see it.
    """
    context = source.stream.codec_context
    context.flush_buffers()
    doubtful = may_hide_order(source, [shown_at(packet) for packet in run.packets])
    skip: Literal["NONREF", "DEFAULT"] = "NONREF" if context.name in SKIPPABLE and not doubtful else "DEFAULT"
    packets = run.packets if doubtful else _needed(run.packets, wanted)
    missing, newest, count = set(wanted), -math.inf, 0
    for packet in [*packets, None]:
        source.check_clock()
        context.skip_frame = "DEFAULT" if packet is None or packet.pts in wanted else skip
        try:
            frames = context.decode(packet)
        except av.FFmpegError as error:
            raise UnreliableError("a packet cannot be decoded") from error
        for frame in frames:
            if frame.pts is None or frame.pts <= newest or frame.is_corrupt:
                raise UnreliableError("frames come out damaged or in another order than announced")
            newest = frame.pts
            count += 1
            if count == 1 or frame.pts in missing:
                findings.look(source, frame, first=frame.pts == origin)
            if frame.pts in missing:
                missing.remove(frame.pts)
                yield frame
    if missing:
        raise UnreliableError("a wanted frame does not come out")
    if doubtful and count < sum(not packet.is_discard for packet in packets):
        raise UnreliableError("frames that would show their order do not come out")


def _needed(packets: list[VideoPacket], wanted: set[int]) -> list[VideoPacket]:
    """The packets up to the last of which the frame is wanted."""
    return packets[: 1 + max(at for at, packet in enumerate(packets) if packet.pts in wanted)]


def _plain(source: Source, times: Sequence[float], findings: Findings) -> Iterator[Shown]:
    """Decode everything from the start to the last wanted moment."""
    waiting = deque(sorted(range(len(times)), key=lambda row: times[row]))
    before: tuple[VideoFrame, float] | None = None
    for frame, moment in _timed(source, max(times)):
        if before is None:
            findings.look(source, frame, first=True)
        if before is not None and times[waiting[0]] + CLOSE_S < moment:
            yield _shown(before, _take(waiting, times, moment), findings)
        if not waiting:
            break
        before = frame, moment
    else:
        if before is not None:
            findings.end_s = before[1] + _interval(source)
            yield _shown(before, tuple(waiting), findings)
    findings.errors = source.errors


def _take(waiting: deque[int], times: Sequence[float], moment: float) -> tuple[int, ...]:
    """Remove and return the rows whose time comes before `moment`."""
    rows = []
    while waiting and times[waiting[0]] + CLOSE_S < moment:
        rows.append(waiting.popleft())
    return tuple(rows)


def _shown(picture: tuple[VideoFrame, float], rows: tuple[int, ...], findings: Findings) -> Shown:
    frame, moment = picture
    findings.damaged += len(rows) if frame.is_corrupt else 0
    return Shown(rows, moment, frame)


def _timed(source: Source, until_s: float) -> Iterator[tuple[VideoFrame, float]]:
    """Yield all frames in the order they are shown, with the seconds since the first of them.

    Moments need to be right up to `until_s`. Where stamps of a broken file go back, the clock stands still.
    """
    ranks = _ranks(source, until_s)
    first: float | None = None
    latest = 0.0
    for index, frame in enumerate(decoded(source)):
        if ranks is not None:
            moment = ranks[index] if index < len(ranks) else index * _interval(source)
        else:
            moment = float((frame.pts or 0) * source.time_base)
        first = moment if first is None else first
        latest = max(latest, moment - first)
        yield frame, latest


def _ranks(source: Source, until_s: float) -> list[float] | None:
    """Moments of all pictures in the order shown, where frames do not carry them rightly; otherwise None.

    Without timestamps pictures are taken to be equally spaced. Where packets are stamped in decoding order
    although the decoder reorders them, the n-th picture shown has the n-th stamp.
    """
    with source.again() as again:
        stamps = [packet.pts for packet in again.packets() if not packet.is_discard]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps):
        return [index * _interval(source) for index in range(len(stamps))]
    if may_hide_order(source, known) and hides_order(source, until_s):
        return [float(stamp * source.time_base) for stamp in known]
    return None


def _interval(source: Source) -> float:
    return float(1 / source.rate) if source.rate else 0.0
