"""Scores of single questions, and what one evaluation gains over another on the same ones."""

from __future__ import annotations

from dataclasses import dataclass

from vidapt.measure.evaluation import Evaluation
from vidapt.measure.verdicts import MODEL
from vidapt.metrics.intervals import Interval, difference_interval
from vidapt.metrics.text import rouge_l


@dataclass(frozen=True)
class PerQuestion:
    """A score of every question.

    Attributes:
        kind: `accuracy`, or `overlap` (ROUGE-L) where no question has accepted answers.
        samples: Ids of the questions.
        values: From 0 to 1.
        clips: What their clips were taken from; questions of one source are resampled together.
    """

    kind: str
    samples: tuple[str, ...]
    values: tuple[float, ...]
    clips: tuple[str, ...]


def per_question(evaluation: Evaluation) -> PerQuestion:
    """What can be said of every question of an evaluation."""
    closed = [verdict for verdict in evaluation.verdicts if not verdict.free]
    asked = closed or list(evaluation.verdicts)
    values = (
        tuple(float(bool(verdict.right(MODEL))) for verdict in closed)
        if closed
        else tuple(rouge_l(verdict.predictions[MODEL], verdict.expected) for verdict in asked)
    )
    samples, clips = tuple(one.sample for one in asked), tuple(one.cluster for one in asked)
    return PerQuestion("accuracy" if closed else "overlap", samples, values, clips)


def gained(before: PerQuestion, after: PerQuestion) -> Interval:
    """Mean gain on the questions of both, with its interval over clips."""
    old = dict(zip(before.samples, before.values, strict=True))
    both = [
        (old[sample], value, clip)
        for sample, value, clip in zip(after.samples, after.values, after.clips, strict=True)
        if sample in old
    ]
    first, second, clips = zip(*both, strict=True)
    return difference_interval(first, second, clips)
