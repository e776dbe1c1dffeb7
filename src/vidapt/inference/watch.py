"""Clips in front of a model: decoded ahead of it, seen together where they are alike, and read as tokens."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from vidapt.errors import BrokenClip
from vidapt.inference.apart import apart
from vidapt.inference.changed import CHANGES
from vidapt.models.clip_rows import stacked
from vidapt.models.packed import Reading, reading_length, spell
from vidapt.models.reach import REMEDY, late, most_frames, reach_of, sequence
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Frames, Layout, Moments, Plan, Seen, Stamp, Tokens, View, Views
from vidapt.video import Meter, Wanted, decode_each, probe, smaller

AHEAD_FRAMES = 512
"""Frames decoded ahead of the model at most; 512 of high definition are three gigabytes."""

TOWER_BATCH = 8
"""Clips per call of the tower; with more, a processor's caches overflow and each clip takes longer."""

LOOK_BATCH = 2 * TOWER_BATCH
"""Clips whose frames are held together: those of like shape among them go through the tower together."""

AHEAD_CLIPS = 256
"""Clips decoded ahead at most: frames in shared memory have a descriptor each, of which there are 1,024."""


@dataclass(frozen=True)
class SeenClip:
    """A clip as the language model reads it.

    Attributes:
        clip: What it was.
        tokens: [n, D] visual tokens, or [n, D * (1 + depths)].
        layout: How they are read: which stand together, and the text between them.
        times_s: Seconds of the frames used, from the first frame of the file.
        moments: The same from where the clip begins.
        notes: What decoding had to say.
        changed: The same clip with its frames changed, by the name of the change (`inference.changed`).
    """

    clip: Clip
    tokens: Tensor
    layout: Layout
    times_s: tuple[float, ...]
    moments: Moments
    notes: tuple[str, ...]
    changed: Mapping[str, SeenClip] = field(default_factory=dict)


class Watcher:
    """A model that looks at clips.

    Args:
        model: In evaluation mode.
        tokenizer: Its tokenizer.

    Attributes:
        side: Pictures of clips that are watched are made smaller before they are cut if a side is longer, as
            if the files were of that size; None takes them as they are. No part of the fingerprint.
    """

    def __init__(self, model: VideoLM, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.side: int | None = None

    @property
    def clip_tokens(self) -> int:
        """How many tokens a clip of high definition becomes, or more than it would."""
        counts = {1, most_frames(self.model.blueprint.frames)}
        size = (1080, 1920) if self.side is None else smaller((1080, 1920), self.side)
        layouts = [(self.model.plan(size, frames)[1], late(frames)) for frames in counts]
        return max(reading_length(spell(layout, 0, self.tokenizer, when)) for layout, when in layouts)

    def readings(self, seen: Sequence[SeenClip]) -> tuple[Reading, ...]:
        """What is read of clips, text between their tokens as ids."""
        return tuple(spell(one.layout, index, self.tokenizer, one.moments) for index, one in enumerate(seen))

    def watch(
        self, clips: Iterable[Clip], *, workers: int, batch: int = 8
    ) -> Iterator[SeenClip | BrokenClip]:
        """See clips in order, decoding ahead of the model."""
        clips = iter(clips)
        batches = iter(lambda: list(itertools.islice(clips, batch)), [])
        for seen in self.watch_batches(batches, workers=workers, ahead=2 * batch):
            yield from seen

    def watch_batches(
        self,
        batches: Iterable[Sequence[Clip]],
        *,
        workers: int,
        ahead: int = 8,
        beside: int = 0,
        changes: Sequence[str] = (),
        meter: Meter | None = None,
        stop: Future[None] | None = None,
    ) -> Generator[list[SeenClip | BrokenClip], None, None]:
        """See clips batch by batch, decoding up to `ahead` clips before the model needs them.

        What the model computes of a clip may differ in the last bits with what else is in its batch;
        whoever needs the same bits again gives the same batches. A clip that is too long for the language
        model, with `beside` tokens of text, is one that cannot be used. Decoded once, each clip is also seen
        with its frames changed, in every way that `changes` names. `meter` is told of waiting; once `stop`
        has a result, no more comes.
        """
        sizes: deque[int] = deque()
        policy, size = self.model.blueprint.frames, self.model.decode_size
        wanted = (Wanted(one, policy, self._smaller(one) or size) for one in _flattened(batches, sizes))
        room = max(1, min(ahead, AHEAD_CLIPS, AHEAD_FRAMES // most_frames(policy)))
        decoded = decode_each(wanted, workers=workers, ahead=room, meter=meter, stop=stop)
        with contextlib.closing(cast("Generator[tuple[Clip, Frames | BrokenClip], None, None]", decoded)):
            for first in decoded:
                batch = itertools.chain([first], itertools.islice(decoded, sizes.popleft() - 1))
                seen: list[SeenClip | BrokenClip] = []
                # So many at a time, so that no more frames are held than are looked at.
                while some := list(itertools.islice(batch, LOOK_BATCH)):
                    seen += self._with_changes(some, self._see_sound(some, beside), beside, changes)
                if stop is not None and stop.done():
                    return  # the batch may be without its end
                yield seen
                del seen, some  # the next batch is not decoded beside this one

    def _with_changes(
        self,
        decoded: Sequence[tuple[Clip, Frames | BrokenClip]],
        seen: list[SeenClip | BrokenClip],
        beside: int,
        changes: Sequence[str],
    ) -> list[SeenClip | BrokenClip]:
        """What was seen, each with the same clip seen changed."""
        for name in changes:
            others = [
                (clip, frames if isinstance(frames, BrokenClip) else CHANGES[name](clip, frames))
                for clip, frames in decoded
            ]
            pairs = zip(seen, self._see_sound(others, beside), strict=True)
            seen = [
                one
                if isinstance(one, BrokenClip) or isinstance(other, BrokenClip)
                else replace(one, changed={**one.changed, name: other})
                for one, other in pairs
            ]
        return seen

    def _smaller(self, clip: Clip) -> tuple[int, int] | None:
        """(height, width) to which a clip's pictures are made smaller; None where they stay as they are."""
        if self.side is None:
            return None
        try:
            about = probe(clip.path, rate=clip.rate)
        except BrokenClip:  # whoever decodes it says so
            return None
        size = (about.height, about.width)
        wanted = smaller(size, self.side)
        return None if wanted == size else wanted

    def _see_sound(
        self, decoded: Sequence[tuple[Clip, Frames | BrokenClip]], beside: int
    ) -> list[SeenClip | BrokenClip]:
        cut = [
            frames if isinstance(frames, BrokenClip) else self._cut(clip, frames, beside=beside)
            for clip, frames in decoded
        ]
        sound = [
            (clip, frames, views)
            for (clip, frames), views in zip(decoded, cut, strict=True)
            if not isinstance(frames, BrokenClip) and not isinstance(views, BrokenClip)
        ]
        seen = iter(self._look_apart(sound))
        return [views if isinstance(views, BrokenClip) else next(seen) for views in cut]

    def _look_apart(self, clips: Sequence[tuple[Clip, Frames, Views]]) -> list[SeenClip | BrokenClip]:
        """Clips as they are read; one at which the model fails costs no other."""

        def look(some: Sequence[int]) -> list[SeenClip]:
            return self._look([clips[at] for at in some])

        return [
            one
            if isinstance(one, SeenClip)
            else BrokenClip(clip.path, f"the model failed at it: {one.found}")
            for one, (clip, *_) in zip(apart(look, range(len(clips))), clips, strict=True)
        ]

    def _cut(self, clip: Clip, frames: Frames, together: int = 1, beside: int = 0) -> Views | BrokenClip:
        """A clip's views; or why none can be cut, such as a shape that the model's tower cannot take."""
        try:
            views = self.model.cut(torch.from_numpy(frames.pixels), together, frames.moments)
        except ValueError as error:
            return BrokenClip(clip.path, str(error))
        reading = spell(self.model.layouts(views)[0], 0, self.tokenizer, frames.moments)
        length = sequence(self.model.positions, (0,), (reading,), beside)
        if reason := reach_of(self.model).excess(*length, packed=False):
            return BrokenClip(clip.path, f"with the text about it, it would be {reason}; {REMEDY}")
        return views

    def see(self, clips: Sequence[tuple[Clip, Frames]], together: int = 1, beside: int = 0) -> list[SeenClip]:
        """Visual tokens of decoded clips; those with equal plans go through the tower together.

        Args:
            clips: What was decoded.
            together: How many clips one conversation is about.
            beside: How many tokens of text are read with them.

        Raises:
            BrokenClip: If no view can be cut from one, or it is longer than the language model reads.
        """
        sound = []
        for clip, frames in clips:
            views = self._cut(clip, frames, together, beside)
            if isinstance(views, BrokenClip):
                raise views
            sound.append((clip, frames, views))
        return self._look(sound)

    def see_each(
        self, asked: Sequence[tuple[Sequence[tuple[Clip, Frames]], int]]
    ) -> list[list[SeenClip] | BrokenClip]:
        """Clips of several conversations, all of them through the tower together where they are alike.

        Args:
            asked: Of each conversation, what was decoded, and how many tokens of text are read with it.

        Returns:
            Of each its clips; or what is wrong with one, which costs the others nothing.
        """
        cut: list[list[tuple[Clip, Frames, Views]] | BrokenClip] = []
        for clips, beside in asked:
            views = [self._cut(clip, frames, len(clips), beside) for clip, frames in clips]
            broken = next((one for one in views if isinstance(one, BrokenClip)), None)
            sound = [one for one in views if not isinstance(one, BrokenClip)]
            cut.append(
                broken or [(clip, frames, one) for (clip, frames), one in zip(clips, sound, strict=True)]
            )
        seen = iter(
            self._look_apart([one for group in cut if not isinstance(group, BrokenClip) for one in group])
        )
        found: list[list[SeenClip] | BrokenClip] = []
        for group in cut:
            if isinstance(group, BrokenClip):
                found.append(group)
                continue
            looked = list(itertools.islice(seen, len(group)))
            failed = next((one for one in looked if isinstance(one, BrokenClip)), None)
            found.append(failed or [one for one in looked if isinstance(one, SeenClip)])
        return found

    @torch.inference_mode()
    def look_through(
        self, clip: Clip, frames: Frames, beside: int = 0
    ) -> tuple[Seen, list[Tokens | str | Stamp], SeenClip]:
        """One clip with all that lies between its frames and the language model.

        Args:
            clip: What was decoded.
            frames: Its frames.
            beside: How many tokens of text are read with it.

        Returns:
            What the towers saw, what the connector made of it, and the clip as it is read.

        Raises:
            BrokenClip: If no view can be cut, or it is longer than the language model reads.
        """
        views = self._cut(clip, frames, beside=beside)
        if isinstance(views, BrokenClip):
            raise views
        device = self.model.device
        seen = self.model.see_views(
            replace(views, tensors=tuple(tensor.to(device) for tensor in views.tensors))
        )
        read, times = self.model.read(seen), tuple(map(float, frames.times_s))
        ((tokens, layout),) = self.model.rows_of_read(read, seen)
        return seen, read, SeenClip(clip, tokens, layout, times, frames.moments, frames.notes)

    @torch.inference_mode()
    def _look(self, clips: Sequence[tuple[Clip, Frames, Views]]) -> list[SeenClip]:
        alike: dict[tuple[View, ...], list[int]] = {}
        for index, (_, _, views) in enumerate(clips):
            alike.setdefault(views.plan.views, []).append(index)
        seen: dict[int, SeenClip] = {}
        for members in alike.values():
            for start in range(0, len(members), TOWER_BATCH):
                chosen = members[start : start + TOWER_BATCH]
                read = self._read([clips[index][2] for index in chosen])
                for index, (tokens, layout) in zip(chosen, read, strict=True):
                    clip, frames, _ = clips[index]
                    times = tuple(map(float, frames.times_s))
                    seen[index] = SeenClip(clip, tokens, layout, times, frames.moments, frames.notes)
        return [seen[index] for index in range(len(clips))]

    def _read(self, cuts: Sequence[Views]) -> list[tuple[Tensor, Layout]]:
        """Visual tokens of clips whose views are alike; those with equal plans are read together, too."""
        device = self.model.device
        placed = [replace(cut, tensors=tuple(tensor.to(device) for tensor in cut.tensors)) for cut in cuts]
        each = self.model.see_each(placed)
        plans: dict[tuple[Plan, int], list[int]] = {}
        for index, one in enumerate(each):
            plans.setdefault((one.plan, one.together), []).append(index)
        found: dict[int, tuple[Tensor, Layout]] = {}
        for members in plans.values():
            rows = self.model.read_rows(stacked([each[index] for index in members]))
            found |= zip(members, rows, strict=True)
        return [found[index] for index in range(len(cuts))]


def _flattened(batches: Iterable[Sequence[Clip]], sizes: deque[int]) -> Iterator[Clip]:
    """The clips of all batches; the size of each that has any is noted before its first clip is given."""
    for batch in batches:
        if batch:
            sizes.append(len(batch))
        yield from batch
