"""Conversations as single questions, each of which is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vidapt.nouns import Sample

_OF_THE_LAST = ("accept", "value")
"""Facts that tell what is right; of a conversation they are about its last answer."""


def is_conversation(sample: Sample) -> bool:
    """Whether a sample asks more than one question."""
    return sum(turn.role == "user" for turn in sample.turns) > 1


def single_questions(samples: Iterable[Sample]) -> list[Sample]:
    """Take conversations apart: each question with its own answer, and without the turns before it.

    The questions of `x` are called `x#1`, `x#2` and so on; one that has no answer is left out, except the
    last. Samples with one question stay as they are.
    """
    return [one for sample in samples for one in (_apart(sample) if is_conversation(sample) else [sample])]


def _apart(sample: Sample) -> Iterator[Sample]:
    starts = [place for place, turn in enumerate(sample.turns) if turn.role == "user"]
    ends = [*starts[1:], len(sample.turns)]
    facts = {name: fact for name, fact in sample.facts.items() if name not in _OF_THE_LAST}
    for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        one = replace(sample, id=f"{sample.id}#{number}", turns=sample.turns[start:end])
        if number == len(starts):
            yield one
        elif one.answer:
            yield replace(one, rejected=None, facts=facts)
