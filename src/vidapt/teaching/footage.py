"""What a teacher is shown of a clip: how many frames, which moments, how large."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from vidapt.chat.asked import Picture
from vidapt.chat.pictures import pictures_of
from vidapt.errors import BrokenClip
from vidapt.nouns import Clip, Frames
from vidapt.progress import Reporter, silent
from vidapt.teaching.settings import Facts, Labelling, Shown
from vidapt.video import Uniform, Wanted, decode_ahead, decode_each, probe, smaller
from vidapt.video.shots import SIZE, difference

_TINY = Uniform(count=8, pad=False)
"""Frames that movement is told by."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a clip before a teacher sees it.

    Attributes:
        key: Of its row.
        clip: It.
        content: Its `video.identity`.
        length_s: Its length in seconds; 0 for a still.
        size: (height, width) as it is shown.
        movement: Mean difference of tiny frames that follow one another, 0 to 255.
    """

    key: str
    clip: Clip
    content: str
    length_s: float
    size: tuple[int, int]
    movement: float


@dataclass(frozen=True, slots=True)
class Footage:
    """A clip as a teacher is shown it.

    Attributes:
        look: What is known of it.
        pictures: Frames in order.
        segments: Stretches that facts are asked of, in seconds from where the clip begins.
        notes: What decoding had to say.
    """

    look: Look
    pictures: tuple[Picture, ...]
    segments: tuple[tuple[float, float], ...]
    notes: tuple[str, ...] = ()

    def of_segment(self, number: int) -> tuple[Picture, ...]:
        """The pictures of one segment; each belongs to exactly one."""
        ends = [end for _, end in self.segments]
        last = len(ends) - 1
        return tuple(one for one in self.pictures if _segment_at(one.seconds, ends, last) == number)


def _segment_at(moment: float, ends: Sequence[float], last: int) -> int:
    return next((number for number, end in enumerate(ends) if moment < end), last)


def look_at(
    clips: Mapping[str, Clip], contents: Mapping[str, str], workers: int, report: Reporter = silent
) -> Iterator[tuple[str, Look | BrokenClip]]:
    """Say how long, how large and how lively clips are, by key, decoding a few tiny frames of each.

    Args:
        clips: By key.
        contents: Their `video.identity`, by key.
        workers: Decoding processes.
        report: Told how far the work is.
    """
    stream = decode_ahead(clips.values(), _TINY, size=SIZE, workers=workers)
    with closing(cast("Generator[tuple[Clip, Frames | BrokenClip], None, None]", stream)):
        for number, (key, (clip, frames)) in enumerate(zip(clips, stream, strict=True), start=1):
            report("look at clips", number, len(clips))
            if isinstance(frames, BrokenClip):
                yield key, frames
                continue
            try:
                known = probe(clip.path, rate=clip.rate)
            except BrokenClip as broken:
                yield key, broken
                continue
            steps = [difference(one, other) for one, other in pairwise(frames.pixels)]
            movement = round(sum(steps) / len(steps), 3) if steps else 0.0
            length = 0.0 if known.kind == "still" else float(frames.length_s or 0.0)
            yield key, Look(key, clip, contents[key], length, (known.height, known.width), movement)


def segments(length_s: float, facts: Facts) -> tuple[tuple[float, float], ...]:
    """Equal stretches of about `segment_s`; what is less than half of one more is shared among them."""
    count = min(facts.most_segments, max(1, round(length_s / facts.segment_s)))
    return tuple((length_s * at / count, length_s * (at + 1) / count) for at in range(count))


def frame_count(length_s: float, movement: float, shown: Shown, times: float = 1.0) -> int:
    """How many frames are shown of a stretch.

    Args:
        length_s: Its length; a still has one frame.
        movement: As `Look` has it.
        shown: The policy.
        times: So many times as many, where a clip is labelled again.
    """
    if length_s <= 0:
        return 1
    count = float(max(shown.count, math.ceil(length_s / shown.every_s) if shown.every_s else 0))
    count *= shown.moving if movement >= shown.moving_above else 1.0
    return max(1, min(shown.cap, math.ceil(count * times - 1e-9)))


def outline(look: Look, recipe: Labelling, times: float = 1.0) -> tuple[int, tuple[tuple[float, float], ...]]:
    """How many frames of a clip are shown, and in which segments."""
    if recipe.mode == "caption":
        return frame_count(look.length_s, look.movement, recipe.frames, times), ((0.0, look.length_s),)
    parts = segments(look.length_s, recipe.facts)
    each = frame_count(look.length_s / len(parts), look.movement, recipe.frames, times)
    return each * len(parts), parts


def show(
    looks: Iterable[Look], recipe: Labelling, workers: int, ahead: int, times: float = 1.0
) -> Iterator[Footage | tuple[Look, BrokenClip]]:
    """Decode clips as they are shown, in order; of one that cannot be, what is wrong."""
    under_way: deque[Look] = deque()

    def wanted() -> Iterator[Wanted]:
        for look in looks:
            under_way.append(look)
            policy = Uniform(count=outline(look, recipe, times)[0], pad=False)
            yield Wanted(look.clip, policy, smaller(look.size, recipe.frames.side))

    stream = decode_each(wanted(), workers=workers, ahead=ahead)
    with closing(cast("Generator[tuple[Clip, Frames | BrokenClip], None, None]", stream)):
        for _, frames in stream:
            look = under_way.popleft()
            if isinstance(frames, BrokenClip):
                yield look, frames
            else:
                pictures = tuple(pictures_of(frames, recipe.frames.quality))
                yield Footage(look, pictures, outline(look, recipe, times)[1], frames.notes)
