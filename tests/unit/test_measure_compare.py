"""Two evaluations side by side, against counts by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from measure_tools import Decoding, FakeEngine, colour_judge, pool, truth

from vidapt.errors import ConfigError
from vidapt.measure.compare import compare
from vidapt.measure.evaluate import evaluate
from vidapt.measure.evaluation import Evaluation


def always_first(clip: str | None, question: str) -> str:
    return truth(None, question)


def run(
    out: Path, rule: object = truth, *, clips: int = 8, broken: tuple[str, ...] = (), judged: bool = True
) -> Evaluation:
    engine = FakeEngine(rule, frozenset(broken))  # type: ignore[arg-type]
    judge = colour_judge if judged else None
    return evaluate(engine, pool(clips), out=out, decoding=Decoding(), judge=judge)  # type: ignore[arg-type]


def test_gains_are_counted_question_by_question(tmp_path: Path) -> None:
    found = compare(run(tmp_path / "a", always_first), run(tmp_path / "b"))
    assert (found.questions, found.clips) == (24, 8)
    assert found.accuracy is not None
    # Before: red is right for 2 of 8 clips, no for 4 of 8; after: all.
    assert found.accuracy.types["colour"].value == pytest.approx(0.75)
    assert found.accuracy.macro.value == pytest.approx((0.75 + 0.5) / 2)
    assert (found.accuracy.mcnemar.only_a, found.accuracy.mcnemar.only_b) == (0, 10)
    assert found.accuracy.macro.low < found.accuracy.macro.value < found.accuracy.macro.high
    assert found.claims is not None
    assert found.claims.false_claim_rate is not None
    assert found.claims.false_claim_rate.value == pytest.approx(-0.75)
    assert found.overlap is None


def test_an_evaluation_equals_itself(tmp_path: Path) -> None:
    one = run(tmp_path)
    found = compare(one, one)
    assert found.accuracy is not None
    assert (found.accuracy.macro.value, found.accuracy.macro.low, found.accuracy.macro.high) == (0, 0, 0)


def test_clips_broken_on_one_side_are_left_out_of_both(tmp_path: Path) -> None:
    found = compare(run(tmp_path / "a", broken=("c00",)), run(tmp_path / "b", always_first, broken=("c05",)))
    assert (found.questions, found.clips) == (18, 6)


def test_arms_of_one_evaluation_can_be_compared(tmp_path: Path) -> None:
    one = run(tmp_path)
    found = compare(one, one, before_arm="blind")
    assert found.accuracy is not None
    assert found.accuracy.macro.value == pytest.approx(0.625)
    with pytest.raises(ConfigError, match=r"no arm 'majority'(?s:.*)model, blind, other_clip"):
        compare(one, one, before_arm="majority")


def test_without_a_log_the_wording_is_compared(tmp_path: Path) -> None:
    found = compare(run(tmp_path / "a", always_first, judged=False), run(tmp_path / "b", judged=False))
    assert found.claims is None
    assert found.overlap is not None
    assert found.overlap.value > 0.3


def test_other_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="other questions"):
        compare(run(tmp_path / "a"), run(tmp_path / "b", clips=7))
