"""What probes are asked: the same thing of many clips, with short answers.

Questions of one type, in few wordings, ask the same thing of every clip. Where wordings differ by what stands
in a slot ("is the … ball pocketed"), or a type has many, or a clip answers two of them in two ways, each
wording stands for itself: what is thrown together wrongly would look as if nobody could see it. What teachers
state counts too: a subject and what it does, with what it does it to as the answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidapt.metrics.match import normalise
from vidapt.metrics.question_types import FREE, SHORT, asked, fillers, question_types
from vidapt.metrics.spans import stretch_of
from vidapt.nouns import MEDIA, Clip, Sample
from vidapt.teaching.rows import LabelRow

Kind = Literal["question", "stated"]

_COMMON = 0.1
"""Share of a type's examples from which on a wording may stand together with others."""

_FEW = 3
"""Wordings that may be paraphrases of one another although they share a frame."""

_ENOUGH, _OF_EACH = 50, 10
"""Examples from which on it means something that a probe finds nothing: of all, and of each other answer."""

_AUXILIARY = frozenset(
    {
        *("is", "are", "was", "were", "be", "been", "does", "did", "do", "has", "have", "had", "can"),
        *("could", "will", "would", "the", "a", "an", "this", "that", "these", "those"),
    }
)
"""Words that ask for nothing else where they stand in the place of one another."""


@dataclass(frozen=True, slots=True)
class Example:
    """A clip with the answer to something.

    Attributes:
        id: Of the label.
        clip: What is looked at.
        question: As it is asked; empty of what a teacher stated.
        answer: The class.
        accept: All answers that count as right.
    """

    id: str
    clip: Clip
    question: str
    answer: str
    accept: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """The same thing of many clips.

    Attributes:
        type: Of the questions, or what a teacher stated.
        about: The wording; empty where the type is one thing.
        kind: Where it comes from.
        examples: In the order of the labels.
    """

    type: str
    about: str
    kind: Kind
    examples: tuple[Example, ...]

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.type}: {self.about}" if self.about else self.type

    @property
    def others(self) -> int:
        """Examples whose answer is not the most common one."""
        return len(self.examples) - max(Counter(one.answer for one in self.examples).values())

    @property
    def is_taught(self) -> bool:
        """Whether there are so many examples, of each answer, that a probe would learn what is there."""
        answers = len({one.answer for one in self.examples})
        return len(self.examples) >= _ENOUGH and self.others >= _OF_EACH * (answers - 1)


def question_facts(samples: Sequence[Sample]) -> list[Fact]:
    """What questions with short answers about one clip each ask; others are left out."""
    types = question_types(samples)
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if _is_short(sample) and not types.is_free(sample):
            members[types.of(sample)].append(sample)
    return [fact for kind, group in members.items() for fact in _of_type(kind, group)]


def _is_short(sample: Sample) -> bool:
    if len(sample.media) != 1 or not sample.answer or stretch_of(sample) is not None:
        return False
    value = sample.facts.get("value")
    return value != FREE and (value is not None or len(sample.answer.split()) <= SHORT)


def _of_type(kind: str, samples: Sequence[Sample]) -> Iterator[Fact]:
    wordings = Counter(map(asked, samples))
    slotted = _slotted(wordings)
    parts: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        wording = asked(sample)
        together = wording not in slotted and wordings[wording] >= _COMMON * len(samples)
        parts["" if together else wording].append(sample)
    for about, group in parts.items():
        if _one_answer_each(group):
            yield _fact(kind, about, group)
            continue
        alone: dict[str, list[Sample]] = defaultdict(list)
        for sample in group:
            alone[asked(sample)].append(sample)
        yield from (_fact(kind, wording, some) for wording, some in alone.items() if _one_answer_each(some))


def _slotted(wordings: Iterable[str]) -> set[str]:
    """Wordings that ask of another thing than those with which they share their other words.

    Where few share them and differ by how many words stand in the slot, or by words that ask for nothing,
    they say the same in other words ("which ball did ...", "which coloured ball does ...").
    """
    frames: dict[str, dict[str, str]] = defaultdict(dict)
    for wording, (frame, filler) in fillers(wordings).items():
        frames[frame][wording] = filler
    found: set[str] = set()
    for some in frames.values():
        lengths = {len(filler.split()) for filler in some.values()}
        if len(some) > _FEW or len(lengths) == 1:
            found |= {one for one, filler in some.items() if not set(filler.split()) <= _AUXILIARY}
    return found


def _one_answer_each(samples: Iterable[Sample]) -> bool:
    """Whether no clip has two answers."""
    known: dict[Clip, str] = {}
    return all(known.setdefault(one.media[0], _class(one)) == _class(one) for one in samples)


def _fact(kind: str, about: str, samples: Sequence[Sample]) -> Fact:
    once = {sample.media[0]: sample for sample in reversed(samples)}  # a clip asked twice is one example
    examples = (
        Example(
            sample.id,
            sample.media[0],
            " ".join(sample.question.replace(MEDIA, " ").split()),
            _class(sample),
            tuple(sample.facts.get("accept") or (sample.answer, *sample.references)),
        )
        for sample in reversed(once.values())
    )
    return Fact(kind, about, "question", tuple(examples))


def _class(sample: Sample) -> str:
    value = sample.facts.get("value")
    return normalise(str(sample.answer if value is None else value))


def stated_facts(rows: Iterable[LabelRow]) -> list[Fact]:
    """What teachers stated: who does what, and to what; a clip in which that is two things is left out."""
    said: dict[str, dict[Clip, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        clip = Clip(row.clip, Path(row.path), row.start_s, row.end_s, row.rate)
        for one in row.facts:
            if words := stated_type(one):
                said[words][clip].add(normalise(str(one.get("object", ""))))
    found = []
    for words, clips in said.items():
        alone = ((clip, next(iter(objects))) for clip, objects in clips.items() if len(objects) == 1)
        examples = tuple(Example(clip.id, clip, "", one, (one,)) for clip, one in alone if one)
        if examples:
            found.append(Fact(words, "", "stated", examples))
    return found


def stated_type(fact: Mapping[str, object]) -> str:
    """What of a stated fact is the same in many clips; empty where it says too little."""
    subject, does = normalise(str(fact.get("subject", ""))), normalise(str(fact.get("predicate", "")))
    return f"{subject} {does} …" if subject and does else ""
