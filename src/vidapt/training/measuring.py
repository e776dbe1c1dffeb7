"""What a model answers while it learns: what it gains in its domain, and what it keeps elsewhere."""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from vidapt.formats import single_questions
from vidapt.gauges.answers import AnswerGauges, Held, Holding, gauges_of
from vidapt.gauges.guards import Guards, guards_of
from vidapt.gauges.rivals import rivals_of
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.metrics.accuracy import answer_of
from vidapt.metrics.question_types import QuestionTypes, question_types
from vidapt.models.decoding import Decoding
from vidapt.models.folder import CARD
from vidapt.models.reach import refuse_longer
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Moments, Sample, Seen
from vidapt.recipe import Sizes
from vidapt.training.ahead import Item
from vidapt.training.align.names import BEST
from vidapt.training.data import ClipSamples, group_by_clip
from vidapt.training.footage import Footage
from vidapt.training.picture_sizes import grouped_sizes

PREFIX = "measure/"
"""What the log calls numbers of sets: `measure/NAME/accuracy`."""

_TOGETHER = 32
"""Questions answered at once."""

_SPARE = 4
"""Tokens that an answer may be longer than the longest right one; what is longer is wrong anyway."""


def chosen(samples: Sequence[Sample], count: int) -> list[Sample]:
    """The questions of a set that are asked, drawn once and for all.

    Not every n-th of them: where each clip has as many questions, those would all be of one type.

    Args:
        samples: The set; of a conversation each question is asked on its own.
        count: At most so many.
    """
    asked = [replace(sample, references=()) for sample in single_questions(samples)]
    if len(asked) <= count:
        return asked
    return [asked[place] for place in sorted(random.Random(0).sample(range(len(asked)), count))]


def asked_of(
    samples: Sequence[Sample], count: int, model: VideoLM, tokenizer: Any, sizes: Sizes | None = None
) -> list[ClipSamples]:
    """The same by their clips, as ids; an answer may be of any length.

    Args:
        samples: The set.
        count: At most so many questions.
        model: Lays them out; all of them can be read.
        tokenizer: The model's.
        sizes: To what frames are resized.

    Raises:
        BudgetError: If a question is longer than the model reads.
        FormatError: If it has no answer.
    """
    some = chosen(samples, count)
    clips = group_by_clip(some, model.blueprint.prompt, tokenizer, sys.maxsize, apart=True)
    refuse_longer(model, tokenizer, clips, grouped_sizes(sizes, clips).side)
    return clips


@dataclass(frozen=True, slots=True)
class Marked:
    """What became of one question.

    Attributes:
        clip: Id of its clip; of text alone, the sample's.
        right: Whether the greedy answer is accepted; None where answers are texts of their own.
        loss: Cross-entropy of the label's answer and its end, summed over tokens.
        tokens: How many these are.
    """

    clip: str
    right: bool | None
    loss: float
    tokens: int


@dataclass(frozen=True)
class Marks:
    """A set's questions, in the order of the data.

    Attributes:
        questions: All of them.
        gauges: Of those whose answers have rivals; None without any, or where none were asked for.
        guards: Of the answers that were written; likewise.
    """

    questions: tuple[Marked, ...]
    gauges: AnswerGauges | None = None
    guards: Guards | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of right answers among questions that have accepted ones; None if there are none."""
        right = [one.right for one in self.questions if one.right is not None]
        return sum(right) / len(right) if right else None

    @property
    def loss(self) -> float:
        """Mean cross-entropy of a label's token."""
        return sum(one.loss for one in self.questions) / sum(one.tokens for one in self.questions)

    @property
    def score(self) -> tuple[float, float]:
        """Accuracy, and the loss to tell equals and texts apart; higher is better."""
        return self.accuracy or 0.0, -self.loss

    def to_dict(self) -> dict[str, float]:
        """As the log and JSON hold it."""
        told = {} if self.accuracy is None else {"accuracy": self.accuracy}
        gauges = {} if self.gauges is None else self.gauges.to_dict()
        guards = {} if self.guards is None else self.guards.to_dict()
        return {**told, "loss": self.loss, **gauges, **guards}


class Questions:
    """Asks a model about clips that a stage has made ready.

    Short answers are written greedily and compared; texts of their own are not, which would take long and
    tell little: their likelihood is computed, as that of short ones is.

    Args:
        model: In evaluation mode whenever it is asked.
        tokenizer: Its tokenizer.
        footage: Gives views; where it keeps features, they are used.
        gauged: Whether gauges are measured, too.
    """

    def __init__(self, model: VideoLM, tokenizer: Any, footage: Footage, *, gauged: bool = True) -> None:
        self._engine = Engine(model, tokenizer, "measured")
        self._footage, self._gauged = footage, gauged

    def __call__(self, clips: Sequence[ClipSamples]) -> Marks:
        """Ask everything about some clips."""
        every = [sample for clip in clips for sample in clip.samples]
        types = question_types(every)
        holding = Holding(self._engine, rivals_of(every)) if self._gauged else None
        marked: list[Marked] = []
        held: list[Held] = []
        texts: list[str] = []
        for some in _portions(clips):
            seen = self._see(some)
            right, said = self._right(some, seen, types)
            texts += said
            if holding is not None:
                held += _held(holding, some, seen)
            losses = [
                found for clip, media in zip(some, seen, strict=True) for found in self._loss(clip, media)
            ]
            names = [_name(sample) for clip in some for sample in clip.samples]
            marked += [Marked(*one[:2], *one[2]) for one in zip(names, right, losses, strict=True)]
        return Marks(tuple(marked), gauges_of(held), guards_of(texts) if self._gauged else None)

    def _right(
        self, some: Sequence[ClipSamples], seen: Sequence[Sequence[SeenClip]], types: QuestionTypes
    ) -> tuple[list[bool | None], list[str]]:
        """Whether the answer to each question is right, None of texts of their own; and what was written."""
        short = [[one for one in clip.samples if not types.is_free(one)] for clip in some]
        asked = [
            (media, [one.question for one in samples])
            for media, samples in zip(seen, short, strict=True)
            if samples
        ]
        answers = itertools.chain.from_iterable(
            self._engine.answer(asked, self._decoding(short)) if asked else []
        )
        said = {id(one): self._engine.text(next(answers)) for samples in short for one in samples}
        right = [
            answer_of(one, said[id(one)], types.of(one)).correct if id(one) in said else None
            for clip in some
            for one in clip.samples
        ]
        return right, list(said.values())

    def _decoding(self, samples: Sequence[Sequence[Sample]]) -> Decoding:
        """Greedy, and hardly longer than the longest answer that is accepted."""
        texts = {
            text for some in samples for one in some for text in (*one.facts.get("accept", ()), one.answer)
        }
        ids = [self._engine.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        return Decoding(max_new_tokens=_SPARE + max(map(len, ids), default=0))

    def _loss(self, clip: ClipSamples, seen: Sequence[SeenClip]) -> list[tuple[float, int]]:
        """Cross-entropy of each answer, summed, and its number of tokens."""
        # All of them have one prefix, as `group_by_clip` has it.
        pairs = [(sample.question, sample.answer) for sample in clip.samples]
        packed, logits = self._engine.answered(seen, pairs)
        losses = cross_entropy(logits, packed.labels, reduction="none").double()
        of = packed.sample.tolist()
        sums = [0.0] * len(pairs)
        for owner, loss in zip(of, losses.tolist(), strict=True):
            sums[owner] += loss
        return [(total, of.count(owner)) for owner, total in enumerate(sums)]

    @torch.no_grad()
    def _see(self, some: Sequence[ClipSamples]) -> list[list[SeenClip]]:
        """The clips of each conversation as the language model reads them."""
        items = [(clip, len(one.media)) for one in some for clip in one.media]
        found = iter(_seen_clips(self._engine.model, self._looked(items), [clip for clip, _ in items]))
        return [[next(found) for _ in one.media] for one in some]

    def _looked(self, items: Sequence[Item]) -> Iterator[Seen]:
        """What the towers see of clips, in order; those with equal plans may be together."""
        if not items:
            return
        if self._footage.keeps == "features":
            yield from self._footage.seen(items)
            return
        model = self._engine.model
        for views in self._footage.views(items):
            placed = replace(views, tensors=tuple(tensor.to(model.device) for tensor in views.tensors))
            yield from model.see_each([placed]) if self._footage.tower_trains else [self._footage.see(placed)]


def _seen_clips(model: VideoLM, looked: Iterator[Seen], clips: Sequence[Clip]) -> Iterator[SeenClip]:
    names = iter(clips)
    for seen in looked:
        rows = model.read_rows(seen)
        known = seen.moments or (Moments((), 0.0),) * len(rows)
        for (tokens, layout), moments in zip(rows, known, strict=True):
            yield SeenClip(next(names), tokens, layout, moments.seconds, moments, ())


def _held(
    holding: Holding, some: Sequence[ClipSamples], seen: Sequence[Sequence[SeenClip]]
) -> Iterator[Held]:
    """What a model holds of each question; the next conversation's clips are the other ones."""
    for number, (clip, media) in enumerate(zip(some, seen, strict=True)):
        other = seen[(number + 1) % len(seen)] if len(seen) > 1 else None
        yield from holding.of(clip.samples, media, other)


def _portions(clips: Sequence[ClipSamples]) -> Iterator[list[ClipSamples]]:
    """Clips with about `_TOGETHER` questions, each of at least one clip."""
    some: list[ClipSamples] = []
    for clip in clips:
        if some and sum(len(one.samples) for one in (*some, clip)) > _TOGETHER:
            yield some
            some = []
        some.append(clip)
    if some:
        yield some


def _name(sample: Sample) -> str:
    return sample.media[0].id if sample.media else sample.id


@dataclass(frozen=True)
class Measure:
    """Measures a model on sets of questions, and keeps the best by each.

    Attributes:
        model: It is put into evaluation mode and left there.
        questions: Asks it.
        sets: Clips and their questions, by the set's name.
        folder: Best models go into `best-NAME` in here.
        save: Writes one; None where what the model is just then cannot be written.
    """

    model: VideoLM
    questions: Questions
    sets: Mapping[str, Sequence[ClipSamples]]
    folder: Path
    save: Callable[[Path, Mapping[str, Any]], None] | None

    def __call__(self, step: int) -> dict[str, float]:
        """Numbers of every set by name, once so many steps are done."""
        self.model.eval()
        told: dict[str, float] = {}
        for name, clips in self.sets.items():
            marks = self.questions(clips)
            told |= {f"{PREFIX}{name}/{key}": value for key, value in marks.to_dict().items()}
            self._keep_best(name, marks, step)
        return told

    def _keep_best(self, name: str, marks: Marks, step: int) -> None:
        """Save the model if no earlier one was as good; a resumed run comes to the same decision."""
        if self.save is None:
            return
        folder = self.folder / f"{BEST}{name}"
        if (folder / CARD).is_file():
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            # One of a later step is of a line that was left: the run went on from an older checkpoint.
            if tuple(card["score"]) >= marks.score and card["step"] <= step:
                return
        numbers = {"set": name, "step": step, "score": list(marks.score), "measured": marks.to_dict()}
        self.save(folder, numbers)
