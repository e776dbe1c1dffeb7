"""Which of several video streams is the film, and which are pictures that go with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from vidapt.errors import BrokenClip

_LEAD_S = 10.0
"""A stream that shows nothing new while another one goes on for so long is a picture."""


def candidates(path: Path, container: InputContainer) -> list[VideoStream]:
    """The video streams that may be the film: those marked as what to show first come first.

    Raises:
        BrokenClip: If there are none.
    """
    streams = [s for s in container.streams.video if not Disposition.attached_pic & s.disposition]
    if not streams:
        kinds = sorted({str(stream.type) for stream in container.streams} - {"video"})
        kinds += ["a cover picture"] if container.streams.video else []
        raise BrokenClip(path, f"it holds no video, only {' and '.join(kinds) or 'nothing'}")
    # A stream whose codec this build of FFmpeg does not know has no context, whatever the type says.
    known = [stream for stream in streams if cast("object", stream.codec_context) is not None]
    if not known:
        raise BrokenClip(path, "its video codec is not known")
    return sorted(known, key=lambda stream: not Disposition.default & stream.disposition)


def film(container: InputContainer, streams: list[int]) -> int:
    """Index of the first stream that is more than one picture, or of the first if none is.

    Covers and thumbnails need not be marked as such; that they hold one picture beside a stream of many
    only their packets tell, which are read as far as that takes.

    Args:
        container: The file, at its start; it is read from.
        streams: Indices of some of its streams, in the order in which they are preferred.
    """
    seen: Counter[int] = Counter()
    start_s: dict[int, float] = {}
    for packet in _packets(container, streams):
        seen[packet.stream_index] += 1
        now = float((packet.dts or 0) * packet.time_base)
        lead = now - start_s.setdefault(packet.stream_index, now)
        for stream in streams:
            if seen[stream] > 1:
                return stream
            if lead <= _LEAD_S:
                break
    return max(streams, key=lambda stream: (min(seen[stream], 2), -streams.index(stream)))


def _packets(container: InputContainer, streams: list[int]) -> Iterator[Packet[VideoStream]]:
    places = [place for place, one in enumerate(container.streams.video) if one.index in streams]
    # At the end PyAV trips over streams that a broken file announced on the way.
    with suppress(av.FFmpegError, IndexError):
        for packet in container.demux(video=tuple(places)):
            if packet.size:
                yield packet
