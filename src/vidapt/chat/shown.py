"""Clips as servers are shown them: decoded ahead, made smaller, and compressed frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import cast

from vidapt.chat.asked import Picture
from vidapt.chat.pictures import pictures_of
from vidapt.chat.remote import Shown
from vidapt.errors import BrokenClip
from vidapt.inference.changed import CHANGES
from vidapt.nouns import Clip, Frames
from vidapt.video import Meter, Uniform, Wanted, decode_each, probe, smaller
from vidapt.video.identity import identity

_AHEAD = 256
"""Clips decoded ahead at most: frames in shared memory have a descriptor each."""


@dataclass(frozen=True, slots=True)
class ShownClip:
    """A clip as it is sent.

    Attributes:
        clip: It.
        content: Its `video.identity`.
        pictures: Frames in order.
        times_s: Seconds of these, from the first frame of the file.
        notes: What decoding had to say.
        changed: The same with frames changed, by the name of the change (`inference.changed`).
    """

    clip: Clip
    content: str
    pictures: tuple[Picture, ...]
    times_s: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    changed: Mapping[str, ShownClip] = field(default_factory=dict)


def shown_batches(
    batches: Iterable[Sequence[Clip]],
    how: Shown,
    *,
    workers: int,
    ahead: int = 8,
    changes: Sequence[str] = (),
    meter: Meter | None = None,
    stop: Future[None] | None = None,
) -> Generator[list[ShownClip | BrokenClip], None, None]:
    """Decode clips batch by batch, in order, as they are sent.

    Args:
        batches: Which clips; those without any are passed over.
        how: What of each is sent.
        workers: Decoding processes.
        ahead: Most clips decoded before they are needed.
        changes: Ways in which frames are changed, for copies of each clip.
        meter: Is told of waiting.
        stop: Once it has a result, no more comes.
    """
    sizes: deque[int] = deque()

    def wanted() -> Iterator[Wanted]:
        for batch in batches:
            if batch:
                sizes.append(len(batch))
            yield from (_wanted(clip, how) for clip in batch)

    stream = decode_each(wanted(), workers=workers, ahead=min(ahead, _AHEAD), meter=meter, stop=stop)
    with closing(cast("Generator[tuple[Clip, Frames | BrokenClip], None, None]", stream)):
        for first in stream:
            batch = chain([first], islice(stream, sizes.popleft() - 1))
            # One by one: frames are let go as soon as they are compressed.
            shown = [_shown(clip, frames, how.quality, changes) for clip, frames in batch]
            if stop is not None and stop.done():
                return  # the batch may be without its end
            yield shown


def _wanted(clip: Clip, how: Shown) -> Wanted:
    policy, size = Uniform(count=how.count, pad=False), None
    try:
        known = probe(clip.path, rate=clip.rate)
        size = smaller((known.height, known.width), how.side)
    except BrokenClip:
        pass  # decoding says so in its turn
    return Wanted(clip, policy, size)


def _shown(
    clip: Clip, frames: Frames | BrokenClip, quality: int, changes: Sequence[str]
) -> ShownClip | BrokenClip:
    if isinstance(frames, BrokenClip):
        return frames
    try:
        content = identity(clip.path)
    except OSError as error:
        return BrokenClip(clip.path, f"cannot be read: {error}")
    changed = {
        name: ShownClip(clip, content, tuple(pictures_of(CHANGES[name](clip, frames), quality)))
        for name in changes
    }
    times = tuple(map(float, frames.times_s))
    return ShownClip(clip, content, tuple(pictures_of(frames, quality)), times, frames.notes, changed)
