"""Accuracy of answers per question type, what two systems differ by, and how far no looking gets."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vidapt.metrics.intervals import (
    RESAMPLES,
    Interval,
    McNemar,
    grouped_intervals,
    mcnemar,
    mean_interval,
    unanimous,
)
from vidapt.metrics.match import is_match, normalise
from vidapt.metrics.question_types import asked
from vidapt.metrics.spans import RIGHT_AT, Stretch, agreement, stretch_of
from vidapt.nouns import MEDIA, Sample

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Answer:
    """A system's answer to one question, with the truth.

    Attributes:
        source: What its clip was taken from; answers about one source are resampled together.
        type: Question type.
        question: The question, without media marks.
        prediction: What the system said; empty if it failed, which counts as wrong.
        accept: Every answer that counts as right.
        stretch: When it was, for a question about time; an answer that agrees well enough is right.
    """

    source: str
    type: str
    question: str
    prediction: str
    accept: tuple[str, ...]
    stretch: Stretch | None = None

    @property
    def correct(self) -> bool:
        """Whether the prediction is accepted."""
        if self.stretch is not None:
            return agreement(self.prediction, self.stretch) >= RIGHT_AT
        return is_match(self.prediction, self.accept)


@dataclass(frozen=True, slots=True)
class TypeScore:
    """Accuracy of one question type: `correct` of `n`, with its interval."""

    n: int
    correct: int
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class YesRatio:
    """How often a system says yes where the truth is yes or no.

    Attributes:
        n: Number of such questions.
        said_yes: Share of answers that begin with yes.
        said_neither: Share that begin with neither yes nor no.
        true_yes: Share of questions whose truth is yes; a system that looks comes near it.
    """

    n: int
    said_yes: float
    said_neither: float
    true_yes: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of one system on one set of questions.

    Attributes:
        n: Number of questions.
        sources: Number of what their clips were taken from.
        overall: Share of right answers.
        macro: Mean over question types, the headline: no type counts more for being asked more.
        types: Score of each question type.
        yes_ratio: None if no question has yes or no as its truth.
    """

    n: int
    sources: int
    overall: Interval
    macro: Interval
    types: dict[str, TypeScore]
    yes_ratio: YesRatio | None


@dataclass(frozen=True, slots=True)
class AccuracyDifference:
    """What the second of two systems gains over the first on the same questions.

    Attributes:
        macro: Gain in the mean over question types.
        types: Gain of each type.
        mcnemar: Exact test over all questions; `only_b` are those only the second got right.
    """

    macro: Interval
    types: dict[str, Interval]
    mcnemar: McNemar


@dataclass(frozen=True, slots=True)
class Majority:
    """The most common training answer, which needs no clip: what every system must beat.

    Attributes:
        by_question: Most common answer of each question, by its normalised text.
        by_type: Most common answer of each question type, for questions never seen.
    """

    by_question: Mapping[str, str]
    by_type: Mapping[str, str]

    def predict(self, sample: Sample, kind: str) -> str:
        """Return the answer to a sample's question of some type; empty if its type was never seen."""
        seen = self.by_question.get(asked(sample))
        return seen if seen is not None else self.by_type.get(kind, "")


def answer_of(sample: Sample, prediction: str, kind: str) -> Answer:
    """Join a prediction with the truth of its sample, whose question is of some type.

    The truth is the fact `accept` if given, else the sample's own answer; the clip is the first one.
    """
    return Answer(
        source=sample.media[0].id if sample.media else sample.id,
        type=kind,
        question=_plain(sample.question),
        prediction=prediction,
        accept=tuple(sample.facts.get("accept") or (sample.answer,)),
        stretch=stretch_of(sample),
    )


def accuracy(answers: Sequence[Answer], *, resamples: int = RESAMPLES, seed: int = 0) -> Accuracy:
    """Score a system's answers, with cluster-bootstrap intervals over sources.

    Raises:
        ValueError: If there are no answers, or a question accepts none.
    """
    right = [answer.correct for answer in answers]
    sources = [answer.source for answer in answers]
    types = [answer.type for answer in answers]
    grouped = grouped_intervals(right, types, sources, resamples=resamples, seed=seed)
    asked = Counter(types)
    of_type: dict[str, set[str]] = defaultdict(set)
    for kind, source in zip(types, sources, strict=True):
        of_type[kind].add(source)
    total = len(set(sources))
    correct = Counter(kind for kind, is_right in zip(types, right, strict=True) if is_right)
    return Accuracy(
        n=len(answers),
        sources=total,
        overall=unanimous(mean_interval(right, sources, resamples=resamples, seed=seed), total),
        macro=unanimous(grouped.macro, total),
        types={
            kind: TypeScore(asked[kind], correct[kind], unanimous(i, len(of_type[kind])))
            for kind, i in grouped.groups.items()
        },
        yes_ratio=yes_ratio(answers),
    )


def difference(
    before: Sequence[Answer], after: Sequence[Answer], *, resamples: int = RESAMPLES, seed: int = 0
) -> AccuracyDifference:
    """Return what `after` gains over `before`, question by question, with clips resampled.

    Args:
        before: Answers of the first system.
        after: Answers of the second to the same questions in the same order.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If the questions differ, or there are none.
    """
    asked = [[(a.source, a.type, a.question, a.accept) for a in answers] for answers in (before, after)]
    if asked[0] != asked[1]:
        raise ValueError("the two systems did not answer the same questions in the same order")
    right_before = [answer.correct for answer in before]
    right_after = [answer.correct for answer in after]
    gains = [float(b) - float(a) for a, b in zip(right_before, right_after, strict=True)]
    grouped = grouped_intervals(
        gains,
        [a.type for a in before],
        [a.source for a in before],
        resamples=resamples,
        seed=seed,
        difference=True,
    )
    return AccuracyDifference(grouped.macro, grouped.groups, mcnemar(right_before, right_after))


def majority(train: Iterable[Sample], kind_of: Callable[[Sample], str]) -> Majority:
    """Learn the most common answer per question text and per type from *training* labels.

    `kind_of` tells the type of a question, such as `QuestionTypes.of`.

    Answers are counted by their normalised text; of equally common ones the alphabetically first is taken, so
    that the order of the labels does not matter.
    """
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in train:
        answer = normalise(sample.answer)
        by_question[asked(sample)][answer] += 1
        by_type[kind_of(sample)][answer] += 1
    return Majority(_most_common(by_question), _most_common(by_type))


def yes_ratio(answers: Iterable[Answer]) -> YesRatio | None:
    """Return how often a system says yes where every accepted answer begins with yes, or with no.

    Returns:
        None if there is no such question.
    """
    said, truth = [], []
    for answer in answers:
        heads = {_head(text) for text in answer.accept}
        if heads in ({"yes"}, {"no"}):
            said.append(_head(answer.prediction))
            truth.append(heads == {"yes"})
    if not said:
        return None
    n = len(said)
    neither = sum(head not in ("yes", "no") for head in said)
    return YesRatio(n, said.count("yes") / n, neither / n, sum(truth) / n)


def _most_common(counts: Mapping[str, Counter[str]]) -> dict[str, str]:
    return {key: min(counter, key=lambda text: (-counter[text], text)) for key, counter in counts.items()}


def _head(text: str) -> str:
    word = _WORD.search(normalise(text))
    return word.group() if word else ""


def _plain(question: str) -> str:
    return " ".join(question.replace(MEDIA, " ").split())
