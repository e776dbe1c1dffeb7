"""A judge that is unwell: what is reported holds the truth, which the plain interval need not do.

`benchmarks/judges.py` does the same 500 times.
"""

from __future__ import annotations

from _judge_faults import Faults, Hall

TRIALS = 40


def test_reported_bounds_hold_the_truth_although_the_judge_is_unwell() -> None:
    hall = Hall(resamples=500)
    held = [hall.evaluate(seed) for seed in range(TRIALS)]
    assert all(one.missing > 0 for one in held)
    assert sum(one.held("with missing verdicts and the judge's errors") for one in held) >= 0.95 * TRIALS
    assert sum(one.held("corrected by a person") for one in held) >= 0.9 * TRIALS


def test_what_a_judge_hides_is_in_the_bounds_and_not_in_the_value() -> None:
    hall = Hall(Faults(flips=0.0, refuses=0.5, mumbles=0.0, stalls=0.0), sources=200, resamples=500)
    held = [hall.evaluate(seed) for seed in range(12)]
    assert sum(one.held("interval of valid verdicts") for one in held) <= 6
    assert sum(one.held("with missing verdicts") for one in held) >= 11
