"""What the index and the packets of a file say about its frames; at most one frame is decoded."""

from __future__ import annotations

from itertools import pairwise

from vidapt.video.by_packets import Coded
from vidapt.video.container import Source
from vidapt.video.order import first_shown
from vidapt.video.probe import Probe


def coded_pictures(source: Source) -> list[Coded]:
    """The pictures of a file in the order they are shown. All packets are read.

    Args:
        source: The file, at whatever position; it is opened again.
    """
    with source.again() as again:
        packets = (packet for packet in again.packets() if not packet.is_discard)
        read = [(p.pts, p.is_keyframe, p.size, k) for k, p in enumerate(packets) if p.pts is not None]
    origin = min((pts for pts, *_ in read), default=0)
    # Whether what is shown before the first key frame comes out, only decoding tells.
    if read and (origin < read[0][0] or not read[0][1]):
        first = first_shown(source)
        origin = origin if first is None else first
    shown = sorted(one for one in read if one[0] >= origin)
    return [
        Coded(float((pts - origin) * source.time_base), key, size, order) for pts, key, size, order in shown
    ]


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
