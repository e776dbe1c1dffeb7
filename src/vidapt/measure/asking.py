"""Seeing every clip once and asking it everything, with the controls from the same visual tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from vidapt.errors import BrokenClip, BudgetError, ConfigError
from vidapt.nouns import MEDIA, Clip, Sample

if TYPE_CHECKING:
    from vidapt.inference.watch import SeenClip
    from vidapt.models.decoding import Answer, Decoding

Control = Literal["blind", "other_clip", "shuffled_frames", "one_frame"]


class Asked(Protocol):
    """What an evaluation needs of an engine; `inference.engine.Engine` is one."""

    name: str

    @property
    def fingerprint(self) -> str:
        """Hash of everything an answer depends on."""

    @property
    def clip_tokens(self) -> int:
        """About how many visual tokens a clip becomes at most."""

    def text_tokens(self, question: str) -> int:
        """Tokens of text that are read with a clip; too many of them are a BudgetError."""

    def watch_batches(
        self, batches: Iterable[Sequence[Clip]], *, workers: int, beside: int, changes: Sequence[str] = ()
    ) -> Iterator[list[SeenClip | BrokenClip]]:
        """See clips batch by batch, in order; the same batch gives the same bits.

        Those that leave no room for `beside` tokens of text are broken. `changes` are ways in which each clip
        is also seen with its frames changed (`inference.changed`).
        """

    def answer(
        self, asked: Sequence[tuple[Sequence[SeenClip], Sequence[str]]], decoding: Decoding
    ) -> list[list[Answer]]:
        """Answer questions about clips already seen; None asks without any clip."""

    def text(self, answer: Answer) -> str:
        """An answer's words."""


@dataclass(frozen=True, slots=True)
class ClipQuestions:
    """A clip and all that is asked about it, with the place of each question in the data."""

    clip: Clip
    samples: tuple[tuple[int, Sample], ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What the arms answered about one clip.

    Attributes:
        about: The clip and its questions.
        model: Answers to them, in order.
        controls: By control, answers to them; one that was not asked for, or could not be, is missing.
        other_from: Id of the clip that the control with another clip was shown.
    """

    about: ClipQuestions
    model: tuple[str, ...]
    controls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    other_from: str | None = None


def about_one_clip(samples: Sequence[Sample]) -> list[Sample]:
    """Questions that can be measured; those about several clips, or none, are left out.

    Raises:
        ConfigError: If none is left.
    """
    asked = [sample for sample in samples if len(sample.media) == 1]
    if samples and not asked:
        where = samples[0].source or f"sample {samples[0].id}"
        raise ConfigError(
            where,
            f"is about {len(samples[0].media)} clips, and no question is about one",
            "only questions about one clip are measured",
        )
    return asked


def by_clip(samples: Sequence[Sample]) -> list[ClipQuestions]:
    """Group samples by the clip they are about, in the order clips first appear.

    Raises:
        ConfigError: If there are none, an id is repeated, or one has no answer.
    """
    if not samples:
        raise ConfigError(
            "evaluation", "there is no question to ask", "give labels with questions and answers"
        )
    members: dict[Clip, list[tuple[int, Sample]]] = defaultdict(list)
    ids: set[str] = set()
    for number, sample in enumerate(samples):
        where = sample.source or f"sample {sample.id}"
        if sample.id in ids:
            raise ConfigError(
                where, f"the id {sample.id!r} is already taken", "give every sample an id of its own"
            )
        if not sample.answer and not sample.facts.get("accept"):
            raise ConfigError(where, "has no answer to compare with", "label it, or leave it out")
        ids.add(sample.id)
        members[sample.media[0]].append((number, sample))
    return [ClipQuestions(clip, tuple(asked)) for clip, asked in members.items()]


def longest_question(engine: Asked, samples: Sequence[Sample]) -> int:
    """Tokens of the longest question, with the template around it.

    Raises:
        BudgetError: Naming a question that is longer than the model reads.
    """
    counts: dict[str, int] = {}
    for sample in samples:
        if sample.question not in counts:
            try:
                counts[sample.question] = engine.text_tokens(sample.question)
            except BudgetError as error:
                where = sample.source or f"sample {sample.id}"
                raise BudgetError(where, f"its question {error.found}", error.remedy) from None
    return max(counts.values(), default=0)


def visiting_order(count: int) -> list[int]:
    """The order in which clips are seen: one from the first half of the data, one from the second, and so on.

    In the control `other_clip` each clip is answered for with the next one seen, the last with the first. So
    clip i of the first half gets clip i + n/2, which in turn gets clip i + 1: a single ring, in which no clip
    gets itself and neighbours (often cut from one recording) do not get each other. Clips that turn out
    broken are passed over without breaking the ring, and tokens of few clips are held at a time.

    >>> visiting_order(6)
    [0, 3, 1, 4, 2, 5]
    """
    half = (count + 1) // 2
    pairs = ((i, i + half) for i in range(half))
    return [i for pair in pairs for i in pair if i < count]


def portions(groups: Sequence[ClipQuestions], questions: int) -> list[tuple[ClipQuestions, ...]]:
    """Cut the visiting order into portions of at most about `questions` questions, each of at least one clip.

    The cuts depend on the data alone, not on broken clips or on where a killed job went on, so that every
    batch the model reads has the same rows whenever it is read.
    """
    cut: list[list[ClipQuestions]] = []
    filled = 0
    for index in visiting_order(len(groups)):
        group = groups[index]
        if not cut or filled + len(group.samples) > questions:
            cut.append([])
            filled = 0
        cut[-1].append(group)
        filled += len(group.samples)
    return [tuple(portion) for portion in cut]


@dataclass
class Interview:
    """Asks the model and its controls.

    Attributes:
        engine: The model.
        decoding: How tokens are chosen.
        controls: Which controls are asked too.
        questions: At most so many are answered together.
        blind: Answers without a clip to questions asked so far. They depend on the question alone, so each
            is asked once.
    """

    engine: Asked
    decoding: Decoding
    controls: Sequence[Control]
    questions: int
    blind: dict[str, str] = field(default_factory=dict)

    def remember(self, answered: Iterable[tuple[str, str]]) -> None:
        """Take over blind answers from before, as pairs of question and answer."""
        self.blind.update(answered)

    def ask(self, seen: Sequence[tuple[ClipQuestions, SeenClip]], after: SeenClip | None) -> list[Said]:
        """Ask everything about the clips of a portion.

        Args:
            seen: The clips, in visiting order.
            after: The clip seen next, for the last one's control; None if there is no other clip.
        """
        groups = [group for group, _ in seen]
        tokens = [clip for _, clip in seen]
        model = self._answers(list(zip(tokens, groups, strict=True)))
        found: dict[str, Sequence[tuple[str, ...]]] = {}
        others = [*tokens[1:], after] if after is not None else []
        for control in self.controls:
            if control == "blind":
                found[control] = self._without_clips(groups)
            elif control == "other_clip":
                if others:
                    found[control] = self._answers(list(zip(others, groups, strict=True)))
            else:
                changed = [clip.changed[control] for clip in tokens]
                found[control] = self._answers(list(zip(changed, groups, strict=True)))
        return [
            Said(
                about=group,
                model=model[i],
                controls={control: answers[i] for control, answers in found.items()},
                other_from=others[i].clip.id if "other_clip" in found else None,
            )
            for i, group in enumerate(groups)
        ]

    def _without_clips(self, groups: Sequence[ClipQuestions]) -> list[tuple[str, ...]]:
        texts = [[plain(sample.question) for _, sample in group.samples] for group in groups]
        new = [q for q in dict.fromkeys(q for row in texts for q in row) if q not in self.blind]
        for start in range(0, len(new), self.questions):
            batch = new[start : start + self.questions]
            (answers,) = self.engine.answer([((), batch)], self.decoding)
            self.blind.update(zip(batch, map(self.engine.text, answers), strict=True))
        return [tuple(self.blind[question] for question in row) for row in texts]

    def _answers(self, asked: Sequence[tuple[SeenClip, ClipQuestions]]) -> list[tuple[str, ...]]:
        """Answers to the questions of each clip, in batches of at most `questions`."""
        found: list[list[str]] = [[] for _ in asked]
        for batch in _batches([len(group.samples) for _, group in asked], self.questions):
            rows = [
                ((asked[owner][0],), [sample.question for _, sample in asked[owner][1].samples[part]])
                for owner, part in batch
            ]
            for (owner, _), answers in zip(batch, self.engine.answer(rows, self.decoding), strict=True):
                found[owner] += map(self.engine.text, answers)
        return [tuple(texts) for texts in found]


def plain(question: str) -> str:
    """A question without media marks and surplus spaces."""
    return " ".join(question.replace(MEDIA, " ").split())


def _batches(counts: Sequence[int], limit: int) -> Iterator[list[tuple[int, slice]]]:
    """Batches of (clip, its questions from-to) with at most `limit` questions each."""
    batch: list[tuple[int, slice]] = []
    room = limit
    for owner, count in enumerate(counts):
        for start in range(0, count, limit):
            size = min(limit, count - start)
            if size > room:
                yield batch
                batch, room = [], limit
            batch.append((owner, slice(start, start + size)))
            room -= size
    if batch:
        yield batch
