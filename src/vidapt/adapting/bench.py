"""One measurement for several models: the same questions, asked and judged in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidapt.inference.engine import Engine
from vidapt.measure.asking import Control
from vidapt.measure.evaluate import CONTROLS, Evaluation, evaluate
from vidapt.measure.evaluation import HEAD
from vidapt.measure.judging import ClaimJudge
from vidapt.models.decoding import Decoding
from vidapt.nouns import Sample
from vidapt.progress import Reporter

LONGEST_ANSWER = 128


@dataclass(frozen=True)
class Bench:
    """The same measurement for several models.

    Attributes:
        samples: What is asked.
        learned: What the majority answer is taken from.
        judge: Holds claims against the truth, where that is known.
        workers: Decoding processes; None is one per core.
        report: Shows progress.
    """

    samples: Sequence[Sample]
    learned: Sequence[Sample]
    judge: ClaimJudge | None
    workers: int | None
    report: Reporter

    def measure(
        self, engine: Engine, out: Path, task: str, controls: Sequence[Control] = CONTROLS
    ) -> Evaluation:
        """Accuracy with controls, and claims held against the truth; what is done is not done again."""
        return evaluate(
            engine,
            self.samples,
            out=out,
            decoding=Decoding(max_new_tokens=LONGEST_ANSWER),
            train_samples=self.learned,
            controls=controls,
            judge=self.judge,
            workers=self.workers,
            report=lambda _, done, total, note="": self.report(task, done, total, note),
        )


BEFORE_AND_AFTER = ["", "before", "after", *HEAD[4:]]
"""Columns of `before_and_after`."""


def before_and_after(before: Evaluation, after: Evaluation) -> list[list[str]]:
    """A table under `BEFORE_AND_AFTER`: measure, before, after, and the controls of the adapted model."""
    old = {row[0]: row[2] for row in before.rows()}
    return [[row[0], old.get(row[0], ""), row[2], *row[4:]] for row in after.rows()]
