"""What the stamps of packets leave open about frames: when the first is shown, and in which order they are.

Both are settled by decoding some of the file, which only files that give reason to doubt have to bear.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from vidapt.video.container import Source, decoded

_MOST_HELD = 16
"""Pictures a decoder may hold back at most (ITU-T H.264 A.3.1, H.265 A.4.2)."""


def first_shown(source: Source) -> int | None:
    """Return the tick of the first frame a decode of the whole file gives; None if there is none or no stamp.

    It need not be the smallest tick of all packets. Footage cut out of a longer recording may begin with a
    key frame and pictures that are shown before it but were made from frames that are gone (in H.264 and
    MPEG-2 those of an open group, in H.265 RASL pictures): decoders pass over them. Pictures shown before
    the first key frame that need nothing else (a closed group of MPEG-2, RADL pictures of H.265) do come out.

    Args:
        source: The file, at whatever position; it is opened again.
    """
    with source.again() as again:
        return next((frame.pts for frame in decoded(again)), None)


def may_hide_order(source: Source, stamps: Sequence[int]) -> bool:
    """Whether packets may be stamped in decoding order although their decoder reorders them.

    AVI and ASF keep one stamp a packet, the moment it is decoded at. Stamps that only rise are also what
    a stream without reordered pictures has.

    Args:
        source: The open file.
        stamps: Presentation times of packets in decoding order, ticks.
    """
    return source.stream.codec_context.has_b_frames and all(a < b for a, b in pairwise(stamps))


def hides_order(source: Source, until_s: float) -> bool:
    """Whether frames that matter until `until_s` come out of the decoder with stamps that fall.

    Args:
        source: The file, at whatever position; it is opened again.
        until_s: Last moment of interest, in seconds from the first frame.
    """
    first = newest = None
    late = 0
    with source.again() as again:
        for frame in decoded(again):
            if frame.pts is None:
                continue
            if newest is not None and frame.pts < newest:
                return True
            newest = frame.pts
            first = newest if first is None else first
            late += (newest - first) * again.time_base > until_s
            if late > _MOST_HELD:
                return False
    return False
