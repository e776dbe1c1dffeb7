"""When the frames of a file are shown, from its index or its packets; at most one frame is decoded."""

from __future__ import annotations

from itertools import pairwise

from vidapt.video.container import Source
from vidapt.video.order import first_shown
from vidapt.video.probe import Probe


def stamps(source: Source) -> list[tuple[float, bool]]:
    """Seconds from the first frame at which each frame is shown, ascending, and whether it is a key frame.

    All packets of the file are read.

    Args:
        source: The file, at whatever position; it is opened again.
    """
    with source.again() as again:
        read = [(p.pts, p.is_keyframe) for p in again.packets() if p.pts is not None and not p.is_discard]
    origin = first_shown(source)
    if origin is None:
        origin = min((pts for pts, _ in read), default=0)
    return sorted((float((pts - origin) * source.time_base), key) for pts, key in read if pts >= origin)


def evenly_spaced(source: Source, described: Probe) -> bool:
    """Whether the file's own index says that its frames follow each other at `described.rate`.

    False where that is not known, as in containers whose index holds key frames only.
    """
    entries = source.stream.index_entries
    if described.estimated or len(entries) < 2 or len(entries) != described.frames or not described.rate:
        return False
    ticks = [entry.timestamp for entry in entries]
    gaps = [later - sooner for sooner, later in pairwise(ticks)]
    length = float((ticks[-1] - ticks[0]) * source.time_base)
    # Stamps are rounded to ticks; and one long last frame would make the average rate wrong for all.
    return max(gaps) - min(gaps) <= 1 and abs(length - len(gaps) / described.rate) < 0.5 / described.rate
