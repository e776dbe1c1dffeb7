"""Counts of what captions claim, whoever judges the claims; and their rates with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vidapt.metrics.intervals import RESAMPLES, Interval, ratio_difference_interval, ratio_interval

Terms = Callable[[Sequence["ClaimCounts"]], tuple[list[int], list[int]]]
"""Numerator and denominator of a rate, per clip."""


@dataclass(frozen=True, slots=True)
class ClaimCounts:
    """What one caption, or many added up, claims.

    Attributes:
        supported: Claims the truth confirms.
        contradicted: Claims the truth denies: what was made up.
        unparsed: Statements the judge could not read. They enter no rate, so report their number.
        recalled: Facts worth telling that were told.
        salient: Facts worth telling.

    Raises:
        ValueError: If a count is negative, or more is recalled than there was to tell.
    """

    supported: int = 0
    contradicted: int = 0
    unparsed: int = 0
    recalled: int = 0
    salient: int = 0

    def __post_init__(self) -> None:
        counts = (self.supported, self.contradicted, self.unparsed, self.recalled, self.salient)
        if min(counts) < 0:
            raise ValueError(f"counts cannot be negative: {self}")
        if self.recalled > self.salient:
            raise ValueError(f"{self.recalled} facts recalled of {self.salient}")

    def __add__(self, other: ClaimCounts) -> ClaimCounts:
        return ClaimCounts(
            self.supported + other.supported,
            self.contradicted + other.contradicted,
            self.unparsed + other.unparsed,
            self.recalled + other.recalled,
            self.salient + other.salient,
        )

    @property
    def claims(self) -> int:
        """Claims that were judged."""
        return self.supported + self.contradicted

    @property
    def precision(self) -> float | None:
        """Share of judged claims that are true; None if there are none."""
        return self.supported / self.claims if self.claims else None

    @property
    def false_claim_rate(self) -> float | None:
        """Share of judged claims that are false; None if there are none."""
        return self.contradicted / self.claims if self.claims else None

    @property
    def recall(self) -> float | None:
        """Share of the facts worth telling that were told; None if there are none."""
        return self.recalled / self.salient if self.salient else None


@dataclass(frozen=True, slots=True)
class ClaimRates:
    """Rates over a set of clips; an interval is None where nothing was claimed, or nothing was to tell.

    Attributes:
        total: All counts added up.
        clips: Number of clips.
        precision: True claims of judged ones.
        false_claim_rate: False claims of judged ones.
        recall: Told facts of those worth telling.
    """

    total: ClaimCounts
    clips: int
    precision: Interval | None
    false_claim_rate: Interval | None
    recall: Interval | None


@dataclass(frozen=True, slots=True)
class ClaimDifference:
    """What the second of two systems changed on the same clips; None where a system has no such rate.

    Attributes:
        precision: Change of the share of true claims.
        false_claim_rate: Change of the share of false claims; below zero is better.
        recall: Change of the share of told facts.
    """

    precision: Interval | None
    false_claim_rate: Interval | None
    recall: Interval | None


def claim_rates(per_clip: Sequence[ClaimCounts], *, resamples: int = RESAMPLES, seed: int = 0) -> ClaimRates:
    """Return the rates over clips, every claim weighing the same, with clips resampled.

    Args:
        per_clip: [K] counts of each clip; a clip of several captions gives their sum.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
    """

    def rate(terms: Terms) -> Interval | None:
        top, bottom = terms(per_clip)
        return ratio_interval(top, bottom, resamples=resamples, seed=seed) if sum(bottom) else None

    return ClaimRates(
        total=sum(per_clip, start=ClaimCounts()),
        clips=len(per_clip),
        precision=rate(_precision),
        false_claim_rate=rate(_false_claim_rate),
        recall=rate(_recall),
    )


def claim_difference(
    before: Sequence[ClaimCounts],
    after: Sequence[ClaimCounts],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ClaimDifference:
    """Return how the rates changed from one system to another, with the same clips resampled for both.

    Args:
        before: [K] counts of each clip under the first system.
        after: [K] counts of the same clips in the same order under the second.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If the number of clips differs.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} clips before for {len(after)} after")

    def change(terms: Terms) -> Interval | None:
        old, new = terms(before), terms(after)
        if not sum(old[1]) or not sum(new[1]):
            return None
        return ratio_difference_interval(old, new, resamples=resamples, seed=seed)

    return ClaimDifference(change(_precision), change(_false_claim_rate), change(_recall))


def _precision(per_clip: Sequence[ClaimCounts]) -> tuple[list[int], list[int]]:
    return [counts.supported for counts in per_clip], [counts.claims for counts in per_clip]


def _false_claim_rate(per_clip: Sequence[ClaimCounts]) -> tuple[list[int], list[int]]:
    return [counts.contradicted for counts in per_clip], [counts.claims for counts in per_clip]


def _recall(per_clip: Sequence[ClaimCounts]) -> tuple[list[int], list[int]]:
    return [counts.recalled for counts in per_clip], [counts.salient for counts in per_clip]
