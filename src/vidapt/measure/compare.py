"""What the second of two evaluations gains over the first, question by question."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vidapt.errors import ConfigError
from vidapt.measure.evaluation import Evaluation, answers, claims_per_source
from vidapt.measure.verdicts import MODEL, Verdict
from vidapt.metrics.accuracy import AccuracyDifference, difference
from vidapt.metrics.claims import ClaimDifference, claim_difference
from vidapt.metrics.intervals import Interval, difference_interval
from vidapt.metrics.text import rouge_l


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired differences, the second evaluation less the first.

    Attributes:
        questions: Number of questions both answered.
        clips: Number of clips these are about.
        accuracy: Over questions with accepted answers; None if there are none.
        claims: Over free texts that a log was held against; None if there are none.
        overlap: Change of ROUGE-L over free texts without a log; None if there are none.
    """

    questions: int
    clips: int
    accuracy: AccuracyDifference | None
    claims: ClaimDifference | None
    overlap: Interval | None


def compare(
    before: Evaluation, after: Evaluation, *, before_arm: str = MODEL, after_arm: str = MODEL
) -> Comparison:
    """Compare two evaluations, or two arms of one, on the questions both answered.

    Clips that one of them had to leave out are left out of both.

    Args:
        before: The first.
        after: The second, of the same questions.
        before_arm: Whose answers count on the first side.
        after_arm: Whose answers count on the second side.

    Raises:
        ConfigError: If the questions are not the same, or an arm was not asked.
    """
    for evaluation, arm in ((before, before_arm), (after, after_arm)):
        if arm not in evaluation.arms:
            raise ConfigError(evaluation.name, f"has no arm {arm!r}", f"it has: {', '.join(evaluation.arms)}")
    if before.header.stamp.get("data") != after.header.stamp.get("data"):
        raise ConfigError(
            after.name, f"was asked other questions than {before.name}", "evaluate both on the same data"
        )
    old, new = _shared(before, after)
    if not old:
        raise ConfigError(after.name, f"shares no answered question with {before.name}")
    closed = answers(old, before_arm), answers(new, after_arm)
    free = [(a, b) for a, b in zip(old, new, strict=True) if a.free]
    judged = before.judged and after.judged
    return Comparison(
        questions=len(old),
        clips=len({verdict.clip.id for verdict in old}),
        accuracy=difference(*closed) if closed[0] else None,
        claims=_claims(old, new, before_arm, after_arm) if free and judged else None,
        overlap=_overlap(free, before_arm, after_arm) if free and not judged else None,
    )


def _shared(before: Evaluation, after: Evaluation) -> tuple[list[Verdict], list[Verdict]]:
    old = {verdict.sample: verdict for verdict in before.verdicts}
    # What is resampled together is so for both, as the first has it.
    both = [
        (old[one.sample], replace(one, source=old[one.sample].cluster))
        for one in after.verdicts
        if one.sample in old
    ]
    return [a for a, _ in both], [b for _, b in both]


def _claims(old: list[Verdict], new: list[Verdict], before_arm: str, after_arm: str) -> ClaimDifference:
    first, second = claims_per_source(old, before_arm), claims_per_source(new, after_arm)
    return claim_difference(list(first.values()), [second[source] for source in first])


def _overlap(free: list[tuple[Verdict, Verdict]], before_arm: str, after_arm: str) -> Interval:
    return difference_interval(
        [rouge_l(a.predictions[before_arm], a.expected) for a, _ in free],
        [rouge_l(b.predictions[after_arm], b.expected) for _, b in free],
        [a.cluster for a, _ in free],
    )
