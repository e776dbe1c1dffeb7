"""What texts of labels tell: rows that say the same, what a blind model scores, an order that stays."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from vidapt.curation.findings import Blind, Finding
from vidapt.metrics.match import normalise
from vidapt.metrics.question_types import asked, question_types
from vidapt.metrics.text import words
from vidapt.nouns import MEDIA, Sample

_ALIKE = 0.8
"""Share of two questions' words that is in both, from which they are near-duplicates."""

_MOST_OF_A_CLIP = 200
"""Questions of one clip that are compared in pairs."""

_TELLING = 20
"""Questions of a type from which a share of answers tells something."""

_LOPSIDED = 0.75
_ORDERS = 5
"""Conversations of the same questions from which one order for all is no accident."""


def doubles(samples: Sequence[Sample]) -> Iterator[Finding]:
    """Rows about one clip that ask the same, or nearly so."""
    groups: dict[object, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.media:
            about = tuple((str(clip.path), clip.start_s, clip.end_s) for clip in sample.media)
            groups[about].append(sample)
    for group in groups.values():
        yield from _same(group)
        yield from _alike(group)


def _same(group: Sequence[Sample]) -> Iterator[Finding]:
    before: dict[str, Sample] = {}
    for sample in group:
        first = before.setdefault(_said(sample), sample)
        if first is sample:
            continue
        if normalise(first.answer) == normalise(sample.answer):
            found = f"asks and answers the same as {first.source}"
            yield Finding("warning", "duplicate", sample.source, found)
        elif len(words(sample.answer)) <= 5:
            found = f"answers {sample.answer!r} where {first.source} answers {first.answer!r}"
            yield Finding("warning", "contradiction", sample.source, found)


def _alike(group: Sequence[Sample]) -> Iterator[Finding]:
    texts = {_said(sample): sample for sample in reversed(group[:_MOST_OF_A_CLIP])}
    bags = [(frozenset(words(text)), sample) for text, sample in reversed(texts.items())]
    for (left, first), (right, sample) in itertools.combinations(bags, 2):
        if len(left & right) >= _ALIKE * len(left | right) and normalise(first.answer) == normalise(
            sample.answer
        ):
            found = f"asks nearly the same as {first.source}, with the same answer"
            yield Finding("warning", "alike", sample.source, found)


def _said(sample: Sample) -> str:
    """All that is asked, as it is compared."""
    texts = (turn.text.replace(MEDIA, " ") for turn in sample.turns if turn.role == "user")
    return normalise(" ".join(texts))


def blind_scores(samples: Sequence[Sample]) -> list[Blind]:
    """What each type's answers give away, the type with the most questions first."""
    asking = [sample for sample in samples if sample.turns]
    right = guesses(asking)
    scores = [
        _blind(name, [(normalise(asking[place].answer), right[place]) for place in places])
        for name, places in _by_type(asking).items()
    ]
    return sorted(scores, key=lambda one: (-one.questions, one.type))


def guesses(samples: Sequence[Sample]) -> list[bool]:
    """Of each sample whether its answer is the most common one of the *others* of its question's words.

    Where there are no others, those of its type are asked.
    """
    right = [False] * len(samples)
    for places in _by_type(samples).values():
        answers: Counter[str] = Counter()
        by_question: dict[str, Counter[str]] = defaultdict(Counter)
        pairs = [(asked(samples[place]), normalise(samples[place].answer)) for place in places]
        for question, answer in pairs:
            answers[answer] += 1
            by_question[question][answer] += 1
        tops = {question: _top(counts) for question, counts in by_question.items()}
        whole = _top(answers)
        for place, (question, answer) in zip(places, pairs, strict=True):
            right[place] = (_usual(tops[question], answer) or _usual(whole, answer)) == answer
    return right


def _by_type(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Places of the samples of each type of question."""
    types = question_types(samples)
    found: dict[str, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        found[types.of(sample)].append(place)
    return found


def lopsided(scores: Iterable[Blind], where: str) -> Iterator[Finding]:
    """Types that can be answered without looking."""
    for one in scores:
        if one.questions >= _TELLING and max(one.blind, one.majority) >= _LOPSIDED:
            share = f"{max(one.blind, one.majority):.0%} of its {one.questions} questions"
            yield Finding(
                "warning", "blind", where, f"type {one.type!r}: {share} are answered without looking"
            )


def _blind(name: str, told: Sequence[tuple[str, bool]]) -> Blind:
    answers = Counter(answer for answer, _ in told)
    majority = answers.most_common(1)[0][1] / len(told)
    right = sum(guessed for _, guessed in told) / len(told)
    return Blind(name, len(told), len(answers), round(majority, 4), round(right, 4))


def _top(counts: Counter[str]) -> list[tuple[str, int]]:
    """The two most common answers; of equally common ones the first by the alphabet."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:3]


def _usual(top: Sequence[tuple[str, int]], own: str) -> str | None:
    """The most common answer of all others; None if there are no others."""
    others = [(count - (answer == own), answer) for answer, count in top]
    best = min(((-count, answer) for count, answer in others if count), default=None)
    return None if best is None else best[1]


def one_order(samples: Sequence[Sample]) -> Iterator[Finding]:
    """Conversations that ask the same questions, always in one order: the model learns the order."""
    orders: dict[frozenset[str], Counter[tuple[str, ...]]] = defaultdict(Counter)
    first: dict[frozenset[str], Sample] = {}
    for sample in samples:
        asking = tuple(normalise(t.text.replace(MEDIA, " ")) for t in sample.turns if t.role == "user")
        if len(asking) > 1:
            orders[frozenset(asking)][asking] += 1
            first.setdefault(frozenset(asking), sample)
    for questions, counts in orders.items():
        if len(counts) == 1 and counts.total() >= _ORDERS:
            found = f"{counts.total()} conversations ask the same {len(questions)} questions in one order"
            remedy = "shuffle them, or train with `batching.apart`"
            yield Finding("warning", "order", first[questions].source, f"{found}; {remedy}")
