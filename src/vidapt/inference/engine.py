"""The built-in engine: a loaded model that captions clips and answers questions about them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from vidapt.digests import seed_of
from vidapt.errors import BrokenClip, BudgetError, CheckpointError, ConfigError
from vidapt.hub import is_mark
from vidapt.models.clip_rows import stacked, visual_tokens
from vidapt.models.fingerprint import WeightsAnywhere, weights_fingerprint
from vidapt.models.generate import Answer, Decoding, generate
from vidapt.models.layout import layout_of
from vidapt.models.packed import Group, Packed, Reading, pack, prefix_layout, reading_length, spell
from vidapt.models.reach import (
    REMEDY,
    late,
    most_frames,
    reach_of,
    refuse_packed,
    sequence,
    text_length,
)
from vidapt.models.text import Encoded, encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Frames, Layout, Moments, Plan, Sample, Turn, View, Views
from vidapt.video import decode, decode_ahead

CAPTION_PROMPT = "describe the video."
Media = str | Path | Sequence[str | Path]
"""One file or folder, or several."""

AHEAD_FRAMES = 512
"""Frames decoded ahead of the model at most; 512 of high definition are three gigabytes."""

TOWER_BATCH = 8
"""Clips per call of the tower; with more, a processor's caches overflow and each clip takes longer."""


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
    """

    clip: Clip
    tokens: Tensor
    layout: Layout
    times_s: tuple[float, ...]
    moments: Moments
    notes: tuple[str, ...]


_GENERATION = "generation_config.json"


class Engine:
    """A model ready to be asked.

    Args:
        model: In evaluation mode.
        tokenizer: Its tokenizer.
        name: What to call it in results.
        card: Where it came from, as its folder tells.
    """

    def __init__(
        self, model: VideoLM, tokenizer: Any, name: str, card: Mapping[str, Any] | None = None
    ) -> None:
        self.model, self.tokenizer, self.name, self.card = model, tokenizer, name, dict(card or {})
        end = model.blueprint.prompt.end.strip()
        ids = tokenizer(end, add_special_tokens=False).input_ids if end else []
        # Only marks end an answer: one that is spelled with ordinary pieces begins like many words do.
        marks = {token for token in ids[:1] if is_mark(tokenizer, token)}
        stops = {tokenizer.eos_token_id, *marks, *_published_stops(model)} - {None}
        self.stops: tuple[int, ...] = tuple(sorted(stops))

    def caption(self, path: str | Path, prompt: str = CAPTION_PROMPT, **decoding: Any) -> str:
        """Describe a clip.

        Raises:
            BrokenClip: If it cannot be used.
        """
        return self.ask(path, prompt, **decoding)

    def ask(self, media: Media, question: str, **decoding: Any) -> str:
        """Answer one question about a clip, or about several; `decoding` are fields of `Decoding`.

        Where the clips stand among the words can be said by marks (`nouns.MEDIA`) in the question.

        Raises:
            BrokenClip: If a clip cannot be used.
        """
        return self.ask_all(media, [question], **decoding)[0]

    def ask_all(
        self, media: Media, questions: Sequence[str], *, fps: float | None = None, **decoding: Any
    ) -> list[str]:
        """Answer several questions about a clip (or several clips together), which is seen once.

        Args:
            media: A path, or several.
            questions: What is asked.
            fps: Pictures per second of folders of pictures.
            decoding: Fields of `Decoding`.

        Raises:
            BrokenClip: If a clip cannot be used.
        """
        chosen = Decoding(**decoding)
        count = 1 if isinstance(media, str | Path) else len(media)
        beside = max((self.text_tokens(question, count) for question in questions), default=0)
        (answers,) = self.answer([(self._seen(media, beside, fps), list(questions))], chosen)
        return [self.text(answer) for answer in answers]

    def _seen(self, media: Media, beside: int = 0, fps: float | None = None) -> list[SeenClip]:
        """The clips of one conversation, and how many tokens of text are read with them."""
        paths = [media] if isinstance(media, str | Path) else list(media)
        clips = [Clip(path.stem, path, rate=fps if path.is_dir() else None) for path in map(Path, paths)]
        policy = self.model.blueprint.frames
        decoded = [(clip, decode(clip, policy, size=self.model.decode_size)) for clip in clips]
        return self.see(decoded, together=len(clips), beside=beside)

    def logits(self, media: Media, question: str, answer: str) -> tuple[Tensor, Tensor]:
        """Logits that predict an answer to a question about a clip, or about several.

        Those of other positions, and of ids of your own, are given by `model.logits`.

        Args:
            media: As `ask` takes it.
            question: As `ask` takes it.
            answer: What the model is to have said.

        Returns:
            [A] long, the answer's tokens with its end mark; and [A, vocabulary], row i about token i.

        Raises:
            BrokenClip: If a clip cannot be used.
        """
        count = 1 if isinstance(media, str | Path) else len(media)
        beside = self.text_tokens(question, count)
        packed, logits = self.answered(self._seen(media, beside), [(question, answer)])
        return packed.labels, logits

    @torch.inference_mode()
    def answered(
        self, seen: Sequence[SeenClip], answered: Sequence[tuple[str, str]]
    ) -> tuple[Packed, Tensor]:
        """Logits that predict answers, each alone with its question behind clips already seen.

        Args:
            seen: The clips of one conversation.
            answered: Questions, none of which says itself where the clips stand, and their answers.

        Returns:
            The batch, whose `labels` are the answers' tokens and `sample` tells whose they are; and [labels,
            vocabulary].

        Raises:
            BudgetError: If that is longer than the language model reads.
        """
        media = tuple(one.clip for one in seen)
        encoded = tuple(self.encoded(question, answer, media) for question, answer in answered)
        readings = self._readings(seen)
        packed = pack([Group(encoded, readings)], self.model.positions)
        refuse_packed(self.model, packed)
        packed = packed.to(self.model.device)
        return packed, self.model(packed, torch.cat([one.tokens for one in seen]) if seen else None)

    def _readings(self, seen: Sequence[SeenClip]) -> tuple[Reading, ...]:
        return tuple(spell(one.layout, index, self.tokenizer, one.moments) for index, one in enumerate(seen))

    def prompt(self, seen: Sequence[SeenClip], question: str) -> tuple[list[int], list[bool]]:
        """Ids of all that is read before an answer to a question is begun, and where visual tokens stand.

        Args:
            seen: The clips of one conversation.
            question: What is asked.

        Returns:
            [L] ids, 0 where a visual token stands; and [L] whether one does.
        """
        encoded = self._encoded(question, tuple(one.clip for one in seen))
        ids, slots, _ = prefix_layout(encoded.prefix, self._readings(seen))
        return [*ids, *encoded.ids], [*slots, *(False for _ in encoded.ids)]

    def encoded(self, question: str, answer: str, media: tuple[Clip, ...] = ()) -> Encoded:
        """A question with its answer as token ids."""
        sample = Sample("answered", media, (Turn("user", question), Turn("assistant", answer)))
        return encode(sample, self.model.blueprint.prompt, self.tokenizer)

    def text(self, answer: Answer) -> str:
        """An answer's words."""
        decoded = self.tokenizer.decode(list(answer.ids), skip_special_tokens=True)
        assert isinstance(decoded, str)
        return decoded.strip()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything an answer depends on: blueprint, tokenizer, weights and their number format."""
        seen = hashlib.sha256(self.model.blueprint.model_dump_json().encode())
        seen.update(self.tokenizer.backend_tokenizer.to_str().encode())
        seen.update(weights_fingerprint(WeightsAnywhere(self.model)).encode())
        return seen.hexdigest()[:24]

    @property
    def clip_tokens(self) -> int:
        """How many tokens a clip of high definition becomes, or more than it would."""
        counts = {1, most_frames(self.model.blueprint.frames)}
        layouts = [(self.model.plan((1080, 1920), frames)[1], late(frames)) for frames in counts]
        return max(reading_length(spell(layout, 0, self.tokenizer, when)) for layout, when in layouts)

    def text_tokens(self, question: str, clips: int = 1) -> int:
        """How many tokens of text the model reads when it is asked a question about some clips.

        Raises:
            BudgetError: If that is more than it reads, before any clip is looked at.
        """
        return text_length(self._encoded(question, (Clip("", Path()),) * clips))

    def watch(
        self, clips: Iterable[Clip], *, workers: int, batch: int = 8
    ) -> Iterator[SeenClip | BrokenClip]:
        """See clips in order, decoding ahead of the model."""
        clips = iter(clips)
        batches = iter(lambda: list(itertools.islice(clips, batch)), [])
        for seen in self.watch_batches(batches, workers=workers, ahead=2 * batch):
            yield from seen

    def watch_batches(
        self, batches: Iterable[Sequence[Clip]], *, workers: int, ahead: int = 8, beside: int = 0
    ) -> Generator[list[SeenClip | BrokenClip], None, None]:
        """See clips batch by batch, decoding up to `ahead` clips before the model needs them.

        What the model computes of a clip may differ in the last bits with what else is in its batch;
        whoever needs the same bits again gives the same batches. A clip that is too long for the language
        model, with `beside` tokens of text, is one that cannot be used.
        """
        sizes: deque[int] = deque()
        policy, size = self.model.blueprint.frames, self.model.decode_size
        clips = _flattened(batches, sizes)
        room = max(1, min(ahead, AHEAD_FRAMES // most_frames(policy)))
        decoded = decode_ahead(clips, policy, size=size, workers=workers, ahead=room)
        with contextlib.closing(cast("Generator[tuple[Clip, Frames | BrokenClip], None, None]", decoded)):
            for first in decoded:
                yield self._see_sound([first, *itertools.islice(decoded, sizes.popleft() - 1)], beside)

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
        seen = iter(self._look(sound))
        return [views if isinstance(views, BrokenClip) else next(seen) for views in cut]

    def _cut(self, clip: Clip, frames: Frames, together: int = 1, beside: int = 0) -> Views | BrokenClip:
        """A clip's views; or why none can be cut, such as a shape that the model's tower cannot take."""
        try:
            views = self.model.cut(torch.from_numpy(frames.pixels), together, frames.moments)
        except ValueError as error:
            return BrokenClip(clip.path, str(error))
        reading = spell(self.model.layout(views.plan, together), 0, self.tokenizer, frames.moments)
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
            read = self.model.read(stacked([each[index] for index in members]))
            layout = layout_of(read)
            found |= {i: (tokens, layout) for i, tokens in zip(members, visual_tokens(read), strict=True)}
        return [found[index] for index in range(len(cuts))]

    def answer(
        self, asked: Sequence[tuple[Sequence[SeenClip], Sequence[str]]], decoding: Decoding
    ) -> list[list[Answer]]:
        """Answer questions about clips already seen; without a clip, of the question alone.

        Sampling depends on the seed, the clips' ids and the question, not on what else is asked.

        Returns:
            Per clip (or clips of one conversation), per question, its answer.

        Raises:
            FormatError: If a question marks more places for clips than there are.
            ConfigError: If there is nothing to read behind the clip.
            BudgetError: If that is longer than the language model reads.
        """
        groups: list[Group] = []
        visual: list[Tensor | None] = []
        seeds: list[int] = []
        for seen, questions in asked:
            encoded = [self._encoded(question, tuple(one.clip for one in seen)) for question in questions]
            readings = self._readings(seen)
            tokens = torch.cat([one.tokens for one in seen]) if seen else None
            # A question that says itself where the clip stands may have another prefix than its neighbours.
            for _, members in itertools.groupby(encoded, key=lambda e: e.prefix):
                groups.append(Group(tuple(members), readings))
                visual.append(tokens)
            ids = "\n".join(one.clip.id for one in seen)
            seeds += [seed_of(decoding.seed, ids, question) >> 1 for question in questions]
        found = generate(self.model, groups, visual, self.stops, decoding, seeds)
        answers = itertools.chain.from_iterable(found)
        return [list(itertools.islice(answers, len(questions))) for _, questions in asked]

    def _encoded(self, question: str, media: tuple[Clip, ...]) -> Encoded:
        sample = Sample("question", media, (Turn("user", question), Turn("assistant", "")))
        encoded = encode(sample, self.model.blueprint.prompt, self.tokenizer, open_answer=True)
        if not encoded.ids:
            raise ConfigError("question", "is empty", "ask something")
        tokens = text_length(encoded)
        if reason := reach_of(self.model).excess(tokens, tokens, packed=False):
            raise BudgetError("question", f"is {reason}", "ask something shorter")
        return encoded


def _published_stops(model: VideoLM) -> list[int]:
    """Ids that end an answer by the checkpoint's `generation_config.json`.

    Raises:
        CheckpointError: If they are none.
    """
    if model.origin is None:
        return []
    ids = model.origin.read(_GENERATION).get("eos_token_id")
    found = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not all(type(one) is int for one in found):
        raise CheckpointError(
            _GENERATION, f"eos_token_id is {ids!r}", "write the number of a token, or a list of such numbers"
        )
    # Of tokens that the model does not have none is ever written.
    return [one for one in found if 0 <= one < model.language.get_input_embeddings().num_embeddings]


def _flattened(batches: Iterable[Sequence[Clip]], sizes: deque[int]) -> Iterator[Clip]:
    """The clips of all batches; the size of each that has any is noted before its first clip is given."""
    for batch in batches:
        if batch:
            sizes.append(len(batch))
        yield from batch
