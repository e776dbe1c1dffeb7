"""Numbers of cases: missing verdicts move the bounds and not the value, and bounds hold what is true."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.metrics.case_numbers import Scored, Status, gaps, numbers, with_errors
from vidapt.metrics.cases import Measure
from vidapt.metrics.corrected import corrected, error_bound
from vidapt.metrics.intervals import Interval, mean_interval

RIGHT, FALSE = Measure("right"), Measure("false", better=-1)
SCORE = Measure("score", high=5.0, unit="points")
FEW = 200


def case(name: int, value: float | None, status: Status = "valid", source: str = "") -> Scored:
    terms = (
        {} if value is None else {"right": (value, 1.0), "false": (1 - value, 1.0), "score": (5 * value, 1.0)}
    )
    return Scored(str(name), source or str(name), status, terms)


VERDICT = st.sampled_from([0.0, 1.0, None])


@settings(max_examples=60, deadline=None)
@given(st.lists(VERDICT, min_size=1, max_size=12), st.randoms())
def test_bounds_hold_whatever_the_missing_verdicts_are(
    said: Sequence[float | None], rng: random.Random
) -> None:
    found = numbers(
        (RIGHT, FALSE, SCORE),
        [case(n, value, "valid" if value is not None else "refused") for n, value in enumerate(said)],
        resamples=FEW,
    )
    truth = [rng.choice([0.0, 1.0]) if value is None else value for value in said]
    share = sum(truth) / len(truth)
    for name, value in (("right", share), ("false", 1 - share), ("score", 5 * share)):
        bounds = found.figures[name].bounds
        assert bounds is not None
        assert bounds[0] - 1e-9 <= value <= bounds[1] + 1e-9
        assert found.figures[name].n == len(said)
    assert found.refused == list(said).count(None)
    worst, best = found.figures["false"].worst, found.figures["false"].best
    assert worst is not None
    assert best is not None
    assert worst.value >= best.value


def test_a_value_is_over_valid_verdicts_and_never_zero_for_want_of_one() -> None:
    one = numbers((RIGHT,), [case(0, 1.0), case(1, None, "invalid")], resamples=FEW)
    value = one.figures["right"].value
    assert value is not None
    assert value.value == 1
    assert one.figures["right"].bounds == (0.0, 1.0)
    none = numbers((RIGHT,), [case(0, None, "refused")], resamples=FEW).figures["right"]
    assert none.value is None
    assert none.bounds == (0.0, 1.0)


def test_intervals_are_those_of_a_plain_mean_over_sources() -> None:
    rng = random.Random(0)
    values = [float(rng.random() < 0.6) for _ in range(60)]
    sources = [str(n // 3) for n in range(60)]
    found = numbers(
        (RIGHT,), [case(n, v, source=s) for n, (v, s) in enumerate(zip(values, sources, strict=True))]
    )
    assert found.figures["right"].value == mean_interval(values, sources)


def test_a_harmonic_mean_is_of_the_means() -> None:
    measures = (Measure("F1", mean_of=("P", "R")), Measure("P"), Measure("R"))
    rows = [
        Scored(str(n), str(n), "valid", {"P": (p, 1.0), "R": (r, 1.0)})
        for n, (p, r) in enumerate([(1, 0), (0.5, 1)])
    ]
    found = numbers(measures, rows, resamples=FEW)
    assert found.figures["F1"].value is not None
    assert found.figures["F1"].value.value == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    nothing = numbers(
        measures, [Scored("a", "a", "valid", {"P": (0.0, 1.0), "R": (0.0, 1.0)})], resamples=FEW
    )
    assert nothing.figures["F1"].value is not None
    assert nothing.figures["F1"].value.value == 0


def test_a_difference_that_missing_verdicts_could_turn_is_told_as_such() -> None:
    good = [case(n, 1.0 if n < 80 else 0.0) for n in range(100)]
    bad = [case(n, 1.0 if n < 40 else 0.0) for n in range(100)]
    clear = gaps((RIGHT, FALSE), bad, good)["right"]
    assert clear.value is not None
    assert clear.value.value == pytest.approx(0.4)
    assert clear.words == "better"
    assert gaps((RIGHT, FALSE), bad, good)["false"].words == "better"
    assert gaps((RIGHT,), good, good)["right"].words == "not distinguishable"
    holes = [case(n, None, "invalid") if n % 2 else one for n, one in enumerate(good)]
    turned = gaps((RIGHT,), bad, holes)["right"]
    assert turned.words == "not distinguishable: missing verdicts could turn it"
    assert turned.worst is not None
    assert turned.worst.value == pytest.approx(0.0)
    assert gaps((RIGHT,), [case(0, 1.0)], [case(1, 1.0)])["right"].words == "no verdicts"


def test_cases_that_count_for_one_measure_leave_others_alone() -> None:
    rows = [
        Scored("a", "a", "valid", {"right": (1.0, 1.0)}),
        Scored("b", "b", "refused", touched=frozenset({"score"})),
    ]
    found = numbers((RIGHT, SCORE), rows, resamples=FEW)
    assert (found.figures["right"].n, found.figures["score"].n) == (1, 1)
    assert found.figures["right"].value == found.figures["right"].worst


@settings(max_examples=80, deadline=None)
@given(st.floats(0, 1), st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 1), st.floats(0, 1))
def test_a_judges_errors_are_allowed_for(p: float, a: float, b: float, u: float, v: float) -> None:
    q = p * (1 - b * v) + (1 - p) * a * u  # errs no more often than it may
    low, high = with_errors(Interval(q, q, q), a, b)
    assert low - 1e-9 <= p <= high + 1e-9


def test_the_bound_of_errors_is_clopper_and_pearsons() -> None:
    assert error_bound(0, 50) == pytest.approx(1 - 0.05 ** (1 / 50))
    assert error_bound(3, 3) == error_bound(0, 0) == 1
    scipy = pytest.importorskip("scipy.stats")
    for errors, count in ((1, 25), (7, 40)):
        assert error_bound(errors, count) == pytest.approx(scipy.beta.ppf(0.95, errors + 1, count - errors))


def test_a_persons_check_mends_what_a_judge_gets_wrong() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(200):
        truth = {str(n): float(rng.random() < 0.6) for n in range(400)}
        judged = {name: value if rng.random() > 0.25 * value else 0.0 for name, value in truth.items()}
        checked = {name: truth[name] for name in rng.sample(sorted(truth), 100)}
        found = corrected(judged, checked, {name: str(int(name) // 2) for name in truth})
        assert found is not None
        held += found.low <= 0.6 <= found.high
    assert held >= 184  # of 200; the judge alone is off by 15 points
    assert corrected({"a": 1.0}, {"a": 1.0}, {"a": "x"}) is None
    alike = corrected(
        truth, {name: truth[name] for name in sorted(truth)[:20]}, {name: name for name in truth}
    )
    assert alike is not None
    assert alike.high - alike.value >= 1 - 0.05 ** (1 / 20)
