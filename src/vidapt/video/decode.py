"""Clips to frames: only the frames asked for are decoded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip, Frames
from vidapt.video.bursts import in_bursts
from vidapt.video.by_packets import Coded, moments_of
from vidapt.video.choose import ByPackets, Policy, by_number, choose, counts_frames, shown_at, span
from vidapt.video.container import Source, opened
from vidapt.video.guard import guarded
from vidapt.video.length import EARLY_S
from vidapt.video.limits import DEFAULT, Limits
from vidapt.video.pick import Findings, pick
from vidapt.video.pictures import describe, is_picture, read, refuse_rate
from vidapt.video.pixels import Canvas, check_memory
from vidapt.video.pose import Pose
from vidapt.video.probe import Probe, of_album, of_headers
from vidapt.video.published import Stretch
from vidapt.video.stamps import coded_pictures, evenly_spaced

_HDR = {16: "PQ", 18: "HLG"}
"""Codings of light for screens brighter than most, by their numbers in ITU-T H.273."""


def decode(
    clip: Clip,
    policy: Policy,
    *,
    size: tuple[int, int] | None = None,
    limits: Limits = DEFAULT,
) -> Frames:
    """Decode the frames that `policy` takes from a clip.

    The frame for moment t is the last one shown at or before t, bit for bit what decoding the whole file
    and converting that frame to RGB gives; what is transparent in it shows white. Decoding starts at the
    nearest key frame from which it is exact, pictures nothing depends on are passed over, and nothing is
    decoded twice; where a file's timestamps or index contradict themselves, everything up to the last moment
    is decoded instead.

    Args:
        clip: A video, picture or folder of pictures, and the part of it to use.
        policy: Which moments to take.
        size: (height, width) to resize to while converting, after rotation; None keeps the size at which the
            file is shown: upright, and drawn out where its pixels are not square.
        limits: What the clip may cost.

    Returns:
        Frames with pixels [T, H, W, 3] and the moments the frames are shown at. A file that ends early is
        used, with a note, if at least half of the moments lie in what is left of it.

    Raises:
        BrokenClip: If the clip cannot be used; nothing else is raised for bad data.
    """
    with guarded(clip.path):
        if is_picture(clip.path):
            return _from_pictures(clip, policy, size, limits)
        refuse_rate(clip.path, clip.rate)
        with opened(clip.path, limits, look=False) as source:
            described = of_headers(source)
            times = _times(source, described, clip, policy)
            frames = _from_video(source, described, times, size)
    notes = (*frames.notes, *_beyond(described, clip))
    return replace(frames, notes=notes, start_s=clip.start_s, length_s=_length(described, clip))


def _from_video(
    source: Source, described: Probe, times: Sequence[float], size: tuple[int, int] | None
) -> Frames:
    _check_count(described, len(times), source.limits)
    if size is None:  # before any work: every frame is at least as large as it is stored
        check_memory(source.path, len(times), described.height, described.width, source.limits)
    canvas = Canvas(source.path, len(times), size, source.limits)
    shown_s: NDArray[np.float64] = np.zeros(len(times))
    findings = Findings()
    pose: Pose | None = None
    for shown in in_bursts(pick(source, times, findings)):
        pose = pose or findings.pose(source)
        canvas.put(shown.rows, shown.frame, pose)
        shown_s[list(shown.rows)] = shown.time_s
    return Frames(canvas.pixels, shown_s, (*_assumed(source, findings), *_judge(described, times, findings)))


def _assumed(source: Source, findings: Findings) -> tuple[str, ...]:
    """Say what the file leaves open, and how it was filled in."""
    notes = []
    if source.rate_is_assumed:
        rate = float(source.rate or 0)
        notes.append(f"it does not say how fast it runs; {rate:g} frames a second are assumed")
    if source.stream.metadata.get("alpha_mode") == "1":
        notes.append("what is transparent in it is not known to the decoder, and shows hidden colours")
    if findings.transfer in _HDR:
        coding = _HDR[findings.transfer]
        notes.append(f"its colours are HDR ({coding}) and are not mapped to a common screen")
    return tuple(notes)


def _judge(described: Probe, times: Sequence[float], findings: Findings) -> tuple[str, ...]:
    """Say what is wrong with the file; raise `BrokenClip` if too little of it is left."""
    notes = []
    end = findings.end_s
    if end is not None and end + EARLY_S < described.duration_s:
        lost = sum(moment > end + EARLY_S for moment in times)
        what = f"it is truncated: it ends at {end:.3f} s, its headers say {described.duration_s:.3f} s"
        if 2 * lost > len(times):
            raise BrokenClip(described.path, f"{what}, and {lost} of the {len(times)} moments are lost")
        if lost:
            notes.append(f"{what}; its last frame stands in for {lost} of {len(times)} moments")
    if findings.errors or findings.damaged:
        notes.append(
            f"it is damaged: {findings.errors} packets cannot be used, "
            f"{findings.damaged} of {len(times)} frames are incomplete"
        )
    return tuple(notes)


def _times(source: Source, described: Probe, clip: Clip, policy: Policy) -> tuple[float, ...]:
    chosen = choose(policy, described, clip.start_s, clip.end_s)
    if isinstance(policy, ByPackets):
        return moments_of(policy, coded_pictures(source), *span(described, clip.start_s, clip.end_s))
    assert chosen != "packets"
    if counts_frames(policy) and not evenly_spaced(source, described):
        shown = [one.time_s for one in coded_pictures(source)]
        return _numbered(policy, shown, described.rate, clip) if shown else chosen
    return chosen


def _numbered(policy: Policy, shown_s: Sequence[float], rate: float, clip: Clip) -> tuple[float, ...]:
    """Moments of the frames that a policy names by number, of those shown at `shown_s`."""
    numbers = by_number(policy, Stretch(len(shown_s), rate, clip.start_s, clip.end_s))
    return tuple(shown_s[number] for number in numbers)


def _from_pictures(clip: Clip, policy: Policy, size: tuple[int, int] | None, limits: Limits) -> Frames:
    deadline = time.monotonic() + limits.wall_s
    album = describe(clip.path, limits, clip.rate)
    described = of_album(clip.path, album)
    chosen = choose(policy, described, clip.start_s, clip.end_s)
    if isinstance(policy, ByPackets):  # every picture stands alone
        coded = [Coded(start_s, True, 1, k) for k, start_s in enumerate(album.starts_s)]
        chosen = moments_of(policy, coded, *span(described, clip.start_s, clip.end_s))
    assert chosen != "packets"
    if counts_frames(policy):
        chosen = _numbered(policy, album.starts_s, described.rate, clip)
    _check_count(described, len(chosen), limits)
    if size is None:
        check_memory(clip.path, len(chosen), album.height, album.width, limits)
    wanted = shown_at(chosen, album.starts_s)
    canvas = Canvas(clip.path, len(wanted), size, limits)
    notes = read(album, list(wanted), canvas, limits, deadline)
    shown_s = np.asarray(album.starts_s)[list(wanted)]
    notes = (*notes, *_beyond(described, clip))
    return Frames(canvas.pixels, shown_s, notes, clip.start_s, _length(described, clip))


def _beyond(described: Probe, clip: Clip) -> tuple[str, ...]:
    """Say that a stretch is asked for which goes on where the file has ended."""
    step = 1 / described.rate if described.rate else 0.0
    if clip.end_s is None or clip.end_s <= described.duration_s + step:
        return ()
    return (f"it ends at {described.duration_s:.2f} s, before the end of its stretch at {clip.end_s:g} s",)


def _length(described: Probe, clip: Clip) -> float:
    """Seconds that a clip's stretch of its file lasts."""
    whole = described.duration_s
    return (whole if clip.end_s is None else min(clip.end_s, whole)) - clip.start_s


def _check_count(described: Probe, count: int, limits: Limits) -> None:
    if count > limits.frames:
        raise BrokenClip(described.path, f"{count} frames are wanted of it, the limit is {limits.frames}")
