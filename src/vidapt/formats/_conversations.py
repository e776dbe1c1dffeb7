"""Conversations as single questions, which can be learned and measured each on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vidapt.claims import renumbered
from vidapt.nouns import MEDIA, Sample, Turn

_OF_THE_LAST = ("accept", "value")
"""Facts that tell what is right; of a conversation they are about its last answer."""


def is_conversation(sample: Sample) -> bool:
    """Whether a sample asks more than one question, all about one clip."""
    return len(sample.media) == 1 and sum(turn.role == "user" for turn in sample.turns) > 1


def single_questions(samples: Iterable[Sample]) -> list[Sample]:
    """Take conversations about one clip apart: each question with its own answer, and no turns before it.

    The questions of `x` are called `x#1`, `x#2` and so on, and their clip stands in front of them; one that
    has no answer is left out, except the last. Other samples stay as they are.
    """
    return [one for sample in samples for one in (_apart(sample) if is_conversation(sample) else [sample])]


def _apart(sample: Sample) -> Iterator[Sample]:
    starts = [place for place, turn in enumerate(sample.turns) if turn.role == "user"]
    ends = [*starts[1:], len(sample.turns)]
    facts = {name: fact for name, fact in sample.facts.items() if name not in _OF_THE_LAST}
    for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        turns = tuple(map(_unmarked, sample.turns[start:end]))
        numbers = {start + at: at for at in range(len(turns))}
        if number == len(starts):  # further answers are to the last question
            further = range(len(sample.references))
            numbers |= {len(sample.turns) + at: len(turns) + at for at in further}
        one = renumbered(replace(sample, id=f"{sample.id}#{number}", turns=turns), numbers)
        if number == len(starts):
            yield one
        elif one.answer:
            yield replace(one, rejected=None, facts=facts, references=())


def _unmarked(turn: Turn) -> Turn:
    return replace(turn, text=turn.text.replace(MEDIA, "").strip()) if MEDIA in turn.text else turn
