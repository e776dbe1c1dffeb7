"""Outcomes of cases added up: values with intervals, and how far verdicts that are missing could move them.

Sources are resampled whole, as everywhere (`metrics.intervals`). A verdict that is missing is neither
nothing nor left out: a number is given over the valid ones, beside what it would be if all missing ones had
been the worst, or the best, that a case can have. Where it is known how often a judge errs, a share of yes
is also given as far as such errors can have moved it.

Letters: K sources, M measures, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidapt.metrics.bootstrap import left_out_ratios, resampled_ratios
from vidapt.metrics.cases import Measure, Terms
from vidapt.metrics.intervals import (
    RESAMPLES,
    Interval,
    interval_of,
    unanimous,
)

Status = Literal["valid", "refused", "invalid"]
Floats = NDArray[np.float64]
_VALID, _WORST, _BEST = range(3)


@dataclass(frozen=True, slots=True)
class Scored:
    """A case with its verdict.

    Attributes:
        case: Its id.
        source: What is resampled.
        status: Whether there is a verdict.
        terms: See `metrics.cases.Terms`; empty where there is none.
        kind: Of the case.
        reason: Why there is none.
        touched: Measures that the case would have counted for; None is all.
    """

    case: str
    source: str
    status: Status
    terms: Terms = field(default_factory=dict)
    kind: str = ""
    reason: str = ""
    touched: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    Attributes:
        measure: What it is of.
        n: Cases that count for it, missing ones among them.
        value: Over valid verdicts; None if there is none.
        worst: With the worst verdict for every missing one.
        best: With the best.
    """

    measure: Measure
    n: int
    value: Interval | None
    worst: Interval | None
    best: Interval | None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """From the lowest to the highest that is still possible: sampling and missing verdicts together."""
        ends = [one for one in (self.value, self.worst, self.best) if one is not None]
        return (min(one.low for one in ends), max(one.high for one in ends)) if ends else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told = {name: getattr(self, name) for name in ("value", "worst", "best")}
        return {
            "n": self.n,
            **{name: None if one is None else _plain(one) for name, one in told.items()},
            "bounds": None if self.bounds is None else list(self.bounds),
        }


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a protocol gives for one model.

    Attributes:
        figures: By measure.
        kinds: The same of each kind of case; empty where there is one.
        cases: How many there are.
        refused: Cases that the judge refused.
        invalid: Cases of which it said nothing that could be read.
    """

    figures: Mapping[str, Figure]
    kinds: Mapping[str, Mapping[str, Figure]]
    cases: int
    refused: int
    invalid: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "cases": self.cases,
            "refused": self.refused,
            "invalid": self.invalid,
            "measures": {name: one.to_dict() for name, one in self.figures.items()},
            "kinds": {
                kind: {name: one.to_dict() for name, one in figures.items()}
                for kind, figures in self.kinds.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Gap:
    """What one model has more than another in a measure, on the same cases.

    Attributes:
        measure: What it is of.
        value: Over cases with valid verdicts of both; None if there are none.
        worst: With missing verdicts as bad as can be for this model, and as good for the other.
        best: The other way round.
    """

    measure: Measure
    value: Interval | None
    worst: Interval | None
    best: Interval | None

    @property
    def words(self) -> str:
        """What may be said of it."""
        if self.value is None or self.worst is None or self.best is None:
            return "no verdicts"
        if not self.value.excludes_zero():
            return "not distinguishable"
        ends = self.worst, self.best
        if not (all(one.low > 0 for one in ends) or all(one.high < 0 for one in ends)):
            return "not distinguishable: missing verdicts could turn it"
        if not self.measure.better:
            return "more" if self.value.value > 0 else "less"
        return "better" if self.value.value * self.measure.better > 0 else "worse"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told = {name: getattr(self, name) for name in ("value", "worst", "best")}
        return {
            **{name: None if one is None else _plain(one) for name, one in told.items()},
            "words": self.words,
        }


def numbers(measures: Sequence[Measure], scored: Sequence[Scored], *, resamples: int = RESAMPLES) -> Numbers:
    """Add cases up.

    Args:
        measures: What the protocol measures.
        scored: Its cases, at least one.
        resamples: Number of bootstrap resamples.
    """
    kinds = sorted({one.kind for one in scored if one.kind})
    return Numbers(
        _figures(measures, scored, resamples),
        {
            kind: _figures(measures, [one for one in scored if one.kind == kind], resamples)
            for kind in (kinds if len(kinds) > 1 else ())
        },
        len(scored),
        sum(one.status == "refused" for one in scored),
        sum(one.status == "invalid" for one in scored),
    )


def gaps(
    measures: Sequence[Measure],
    before: Sequence[Scored],
    after: Sequence[Scored],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Gap]:
    """What a second model has more than a first, measure by measure.

    Args:
        measures: What the protocol measures.
        before: Cases of the first.
        after: Cases of the second; those that only one of them has are left out.
        resamples: Number of bootstrap resamples.
    """
    other = {one.case: one for one in before}
    pairs = [(other[one.case], one) for one in after if one.case in other]
    if not pairs:
        return {measure.name: Gap(measure, None, None, None) for measure in measures}
    both = [one.status == two.status == "valid" for one, two in pairs]
    tables = []
    for side in (0, 1):
        members = [pair[side] for pair in pairs]
        # Of the first model the best is taken where the second has the worst.
        swap = (_VALID, _BEST, _WORST) if side == 0 else (_VALID, _WORST, _BEST)
        tables.append(_table(measures, members, swap, both))
    (old, under_old), (new, under_new) = tables
    columns = 3 * len(measures)
    ratios = resampled_ratios(
        np.concatenate([old, new], axis=1), np.concatenate([under_old, under_new], axis=1), resamples
    )
    first = _with_means(measures, ratios[:, :columns]), _with_means(measures, _whole(old, under_old))
    second = _with_means(measures, ratios[:, columns:]), _with_means(measures, _whole(new, under_new))
    moved, value = second[0] - first[0], (second[1] - first[1])[0]
    found = {}
    for place, measure in enumerate(measures):
        ends = [
            _interval(value[at], moved[:, at], int(((under_old[:, at] > 0) & (under_new[:, at] > 0)).sum()))
            for at in range(3 * place, 3 * place + 3)
        ]
        found[measure.name] = Gap(measure, *ends)
    return found


def with_errors(share: Interval, false_yes: float, false_no: float) -> tuple[float, float]:
    """How far the true share of yes can lie from a judge's, if it errs no more than so often.

    Where a share q is said to be yes, and of the true yes `b` are called no and of the true no `a` yes, then
    q = p (1 - b) + (1 - p) a. The lowest p has the highest `a` and no `b`, the highest p the other way round.

    Source: Rogan and Gladen 1978, "Estimating prevalence from the results of a screening test".

    Args:
        share: What the judge says.
        false_yes: Most of what is no that it calls yes.
        false_no: Most of what is yes that it calls no.
    """
    low = (share.low - false_yes) / (1 - false_yes) if false_yes < 1 else 0.0
    high = share.high / (1 - false_no) if false_no < 1 else 1.0
    return max(0.0, min(low, share.low)), min(1.0, max(high, share.high))


def _figures(measures: Sequence[Measure], scored: Sequence[Scored], resamples: int) -> dict[str, Figure]:
    tops, bottoms = _table(measures, scored, (_VALID, _WORST, _BEST), None)
    ratios = _with_means(measures, resampled_ratios(tops, bottoms, resamples))
    without = _with_means(measures, left_out_ratios(tops, bottoms))
    values = _with_means(measures, _whole(tops, bottoms))[0]
    figures = {}
    for place, measure in enumerate(measures):
        names = [one.name for one in measures]
        own = [3 * names.index(name) for name in (measure.mean_of or (measure.name,))]
        ends = []
        for way in range(3):
            at = 3 * place + way
            sources = int((bottoms[:, [column + way for column in own]] > 0).any(axis=1).sum())
            one = _interval(values[at], ratios[:, at], sources, without[:, at])
            whole = one is not None and (measure.low, measure.high) == (0.0, 1.0)
            ends.append(unanimous(one, sources) if one is not None and whole else one)
        count = sum(_counts(one, measure) for one in scored)
        figures[measure.name] = Figure(measure, count, *ends)
    return figures


def _counts(one: Scored, measure: Measure) -> bool:
    """Whether a case counts for a measure."""
    wanted = set(measure.mean_of or (measure.name,))
    if one.status == "valid":
        return bool(wanted & one.terms.keys())
    return one.touched is None or bool(wanted & one.touched)


def _table(
    measures: Sequence[Measure],
    scored: Sequence[Scored],
    ways: tuple[int, int, int],
    both: Sequence[bool] | None,
) -> tuple[Floats, Floats]:
    """[K, 3 M] numerators and denominators: of valid verdicts, with the worst, and with the best for others.

    Args:
        measures: M of them.
        scored: The cases.
        ways: Which of the three comes first, second and third.
        both: Which cases count as valid; None is those that are.
    """
    codes: dict[str, int] = {}
    rows = [codes.setdefault(one.source, len(codes)) for one in scored]
    tops, bottoms = (np.zeros((len(codes), 3 * len(measures))) for _ in range(2))
    for number, (row, one) in enumerate(zip(rows, scored, strict=True)):
        for place, measure in enumerate(measures):
            found = one.terms.get(measure.name, (0.0, 0.0)) if one.status == "valid" else None
            for at, way in enumerate(ways):
                column = 3 * place + at
                if found is not None:
                    if way == _VALID and both is not None and not both[number]:
                        continue
                    tops[row, column] += found[0]
                    bottoms[row, column] += found[1]
                elif way != _VALID and (one.touched is None or measure.name in one.touched):
                    tops[row, column] += _end(measure, best=way == _BEST)
                    bottoms[row, column] += 1
    return tops, bottoms


def _end(measure: Measure, *, best: bool) -> float:
    """The best, or the worst, that a case can have; without a better way, the highest and the lowest."""
    high = best == (measure.better >= 0)
    return measure.high if high else measure.low


def _whole(tops: Floats, bottoms: Floats) -> Floats:
    """[1, 3 M] ratios of all sources."""
    with np.errstate(invalid="ignore", divide="ignore"):
        below = bottoms.sum(0, keepdims=True)
        return np.where(below > 0, tops.sum(0, keepdims=True) / below, np.nan)


def _with_means(measures: Sequence[Measure], ratios: Floats) -> Floats:
    """Ratios [R, 3 M] with the harmonic means filled in."""
    names = [measure.name for measure in measures]
    for place, measure in enumerate(measures):
        if measure.mean_of is None:
            continue
        one, other = (3 * names.index(name) for name in measure.mean_of)
        for way in range(3):
            a, b = ratios[:, one + way], ratios[:, other + way]
            total = a + b
            ratios[:, 3 * place + way] = np.where(
                total > 0, 2 * a * b / np.where(total > 0, total, 1), np.where(np.isnan(total), np.nan, 0.0)
            )
    return ratios


def _interval(
    value: float, resampled: Floats, sources: int, without: Floats | None = None
) -> Interval | None:
    return None if np.isnan(value) else interval_of(float(value), resampled, sources, without=without)


def _plain(one: Interval) -> dict[str, float]:
    return {"value": one.value, "low": one.low, "high": one.high, "level": one.level}
