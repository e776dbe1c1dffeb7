"""What questions ask, where their labels do not say it.

Equal questions are one type, and so are those that are equal but for a slot ("is the … ball pocketed").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from vidapt.metrics.match import normalise
from vidapt.metrics.spans import WHEN, stretch_of
from vidapt.metrics.text import words
from vidapt.nouns import MEDIA, Sample

OTHER = "other questions"
"""Type of a question that is asked once and like which there is no other."""

TEXTS = " (texts)"
"""What is added to the name of a type for those of its answers that are texts of their own."""

FREE = "text"
"""Value of the fact `value` that marks a free text."""

SHORT = 5
"""Longest usual answer, in words, that is compared as a whole when the labels do not say."""

SLOT = "…"
_WIDEST_SLOT = 3
"""Words that a slot holds at most."""

_LONGEST = 40
"""Words of the longest question in which a slot is looked for."""

_LONGEST_NAME = 60

Frame = tuple[tuple[str, ...], tuple[str, ...]]
"""A question's words before and behind a slot."""


@dataclass(frozen=True)
class QuestionTypes:
    """Names the type of each question of a set.

    Attributes:
        frames: Types with a slot, the most common first, and their names.
        asked: Questions of the set, and the names of their types; without those that are asked once.
        free: Types whose answers are texts of their own.
    """

    frames: Mapping[Frame, str]
    asked: Mapping[str, str]
    free: frozenset[str]

    def of(self, sample: Sample) -> str:
        """The type of a sample: what its label says, or else what its question asks."""
        kind = self._asked(sample)
        if kind == WHEN or kind in self.free or not _is_text(sample, 2 * SHORT):
            return kind
        return kind + TEXTS

    def is_free(self, sample: Sample) -> bool:
        """Whether its answer is a text of its own, which equality with one sentence does not measure."""
        kind = self.of(sample)
        return kind in self.free or kind.endswith(TEXTS)

    def _asked(self, sample: Sample) -> str:
        if "type" in sample.facts:
            return str(sample.facts["type"])
        if stretch_of(sample) is not None:
            return WHEN
        question = asked(sample)
        if question in self.asked:
            return self.asked[question]
        return next((self.frames[frame] for frame in _frames(question) if frame in self.frames), OTHER)


def question_types(samples: Sequence[Sample]) -> QuestionTypes:
    """Group the questions of a set by what they ask.

    A slot holds one to three words, and at least half of a question's words stand around it. Of several slots
    a question may have, it takes the one that most questions share. The work grows with the number of
    different questions.

    Types are free whose samples all say so (fact `value` is "text"), and those whose labels list no accepted
    answers and are usually longer than `SHORT` words, where equality would be an accident.

    Raises:
        ConfigError: If a question of the type `when` is not answered by a stretch of time.
    """
    counts: dict[str, int] = defaultdict(int)
    for sample in samples:
        if stretch_of(sample) is None and "type" not in sample.facts:
            counts[asked(sample)] += 1
    taken = _shared(counts)
    frames = {frame: _framed(frame) for frame in dict.fromkeys(taken.values())}
    alone = {question: _short(question) for question, count in counts.items() if count > 1}
    known = QuestionTypes(frames, alone | {q: frames[frame] for q, frame in taken.items()}, frozenset())
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        members[known._asked(sample)].append(sample)
    free = frozenset(kind for kind, group in members.items() if kind != OTHER and _are_texts(group))
    return QuestionTypes(known.frames, known.asked, free)


def asked(sample: Sample) -> str:
    """A sample's question, normalised, without media marks."""
    return normalise(" ".join(sample.question.replace(MEDIA, " ").split()))


def fillers(questions: Iterable[str]) -> dict[str, tuple[str, str]]:
    """What normalised questions share with others, and what stands in its slot.

    >>> fillers(["is the red ball there", "is the blue ball there"])["is the red ball there"]
    ('is the … ball there', 'red')
    """
    found = {}
    for question, (before, behind) in _shared(questions).items():
        told = question.split()
        filler = " ".join(told[len(before) : len(told) - len(behind)])
        found[question] = " ".join((*before, SLOT, *behind)), filler
    return found


def _shared(questions: Iterable[str]) -> dict[str, Frame]:
    """The frame of every question that shares one, the most common frames first."""
    fillers: dict[Frame, list[str]] = defaultdict(list)
    for question in questions:
        for frame in _frames(question):
            fillers[frame].append(question)
    taken: dict[str, Frame] = {}
    # Of equally common frames the one with more fixed words, then the alphabetically first.
    order = sorted(
        (frame for frame, found in fillers.items() if len(found) > 1),
        key=lambda frame: (-len(fillers[frame]), -len(frame[0]) - len(frame[1]), frame),
    )
    for frame in order:
        new = [question for question in fillers[frame] if question not in taken]
        if len(new) > 1:
            taken |= dict.fromkeys(new, frame)
    return taken


def _frames(question: str) -> Iterator[Frame]:
    """Every frame of a question, by the place and the width of its slot."""
    told = tuple(question.split())
    if len(told) > _LONGEST:
        return
    for width in range(1, min(_WIDEST_SLOT, len(told) // 2) + 1):
        for at in range(len(told) - width + 1):
            yield told[:at], told[at + width :]


def _framed(frame: Frame) -> str:
    return _short(" ".join((*frame[0], SLOT, *frame[1])))


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1].rstrip() + "…"


def _are_texts(group: Sequence[Sample]) -> bool:
    if all(sample.facts.get("value") == FREE for sample in group):
        return True
    if any("accept" in sample.facts or "value" in sample.facts for sample in group):
        return False
    return median(len(words(sample.answer)) for sample in group) > SHORT


def _is_text(sample: Sample, longest: int) -> bool:
    """Whether one answer is a text, whatever others of its type are."""
    if "accept" in sample.facts:
        return False
    return sample.facts.get("value") == FREE or len(words(sample.answer)) > longest
