"""What is known of the clips to learn from, as far as choices depend on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidapt.curation import stats
from vidapt.formats import is_conversation, open_samples, single_questions
from vidapt.metrics.question_types import question_types
from vidapt.nouns import MEDIA, Sample
from vidapt.progress import Reporter

_USUAL = 0.05
"""Share of the clips that have to be asked a question for it to be a usual one."""


@dataclass(frozen=True)
class Facts:
    """Of the labels to learn from.

    Attributes:
        clips: How many there are.
        questions: How many questions, conversations taken apart.
        most: Questions of the clip that has most.
        conversations: Rows that ask several questions.
        seconds: Length of a clip in the middle, and of one that is longer than 95 of 100.
        caption: The usual question whose answers are texts; None if there is none.
        question: The most common question of all.
    """

    clips: int
    questions: int
    most: int
    conversations: int
    seconds: tuple[float, float] | None
    caption: str | None
    question: str


def facts_of(labels: Path, report: Reporter) -> Facts:
    """Look at labels and at the headers of their clips."""
    samples = list(open_samples(labels))
    alone = single_questions(samples)
    per_clip = Counter(clip for sample in alone for clip in sample.media)
    seconds = stats([labels], report=report).seconds
    middle = None if seconds is None else (seconds.percentiles["p50"], seconds.percentiles["p95"])
    return Facts(
        clips=len(per_clip),
        questions=len(alone),
        most=max(per_clip.values(), default=1),
        conversations=sum(map(is_conversation, samples)),
        seconds=middle,
        caption=_usual_caption(alone, len(per_clip)),
        question=_common(alone)[0][0],
    )


def _usual_caption(samples: Sequence[Sample], clips: int) -> str | None:
    types = question_types(samples)
    free = [sample for sample in samples if types.is_free(sample)]
    if not free:
        return None
    text, count = _common(free)[0]
    return text if count >= max(2, _USUAL * clips) else None


def _common(samples: Sequence[Sample]) -> list[tuple[str, int]]:
    return Counter(" ".join(one.question.replace(MEDIA, " ").split()) for one in samples).most_common(1)
