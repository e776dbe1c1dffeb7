"""What is known of the clips to learn from, as far as choices depend on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidapt.curation import stats
from vidapt.formats import is_conversation, open_samples, single_questions
from vidapt.metrics.question_types import question_types
from vidapt.metrics.text import words
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
        caption: Of the usual questions that texts answer, the one whose answers tell most; None if
            there is none.
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
        question=Counter(map(_asked, alone)).most_common(1)[0][0],
    )


def _usual_caption(samples: Sequence[Sample], clips: int) -> str | None:
    types = question_types(samples)
    free = [sample for sample in samples if types.is_free(sample)]
    asked = Counter(map(_asked, free))
    told: Counter[str] = Counter()
    for sample in free:
        told[_asked(sample)] += len(words(sample.answer))
    usual = [text for text, _ in told.most_common() if asked[text] >= max(2, _USUAL * clips)]
    return usual[0] if usual else None


def _asked(sample: Sample) -> str:
    """A question as it stands, without marks of its clip."""
    return " ".join(sample.question.replace(MEDIA, " ").split())
