"""Several models on the same questions: what each gains over the first, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vidapt.measure.compare import Comparison, compare
from vidapt.measure.evaluation import Evaluation
from vidapt.metrics.intervals import Interval, detectable

HEAD = (
    "against the first",
    "mean of types",
    "95 % interval",
    "only the first",
    "only this",
    "p, Holm",
    "could tell",
    "so",
)
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Paired:
    """A model beside the first one.

    Attributes:
        name: The model.
        comparison: It less the first.
        p_value: Of the exact McNemar test over all questions, corrected for the number of models by Holm's
            method; None where no question has accepted answers.
        detectable: The smallest difference of the mean over types that such data tells from none in four
            cases of five.
    """

    name: str
    comparison: Comparison
    p_value: float | None
    detectable: float | None

    @property
    def gain(self) -> Interval | None:
        """In the mean over question types."""
        return None if self.comparison.accuracy is None else self.comparison.accuracy.macro

    @property
    def words(self) -> str:
        """What may be said of it."""
        gain = self.gain
        if gain is None:
            return "only free texts"
        if not gain.excludes_zero():
            return "not distinguishable"
        return "better" if gain.value > 0 else "worse"

    def row(self) -> list[str]:
        """Cells under `HEAD`."""
        gain, accuracy = self.gain, self.comparison.accuracy
        if gain is None or accuracy is None or self.p_value is None or self.detectable is None:
            return [self.name, *["-"] * (len(HEAD) - 2), self.words]
        return [
            self.name,
            f"{100 * gain.value:+.1f}",
            f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}",
            str(accuracy.mcnemar.only_a),
            str(accuracy.mcnemar.only_b),
            f"{self.p_value:.3g}",
            f"{100 * self.detectable:.1f}",
            self.words,
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told = {"name": self.name, "words": self.words, "p_holm": self.p_value, "detectable": self.detectable}
        return {**told, **asdict(self.comparison)}


def paired(evaluations: Mapping[str, Evaluation]) -> list[Paired]:
    """Compare each of several evaluations with the first one.

    Args:
        evaluations: By name, of the same questions.

    Raises:
        ConfigError: If the questions are not the same.
    """
    first, *others = evaluations
    found = {name: compare(evaluations[first], evaluations[name]) for name in others}
    tested = {name: one.accuracy.mcnemar.p_value for name, one in found.items() if one.accuracy is not None}
    corrected = holm(tested)
    return [
        Paired(
            name,
            one,
            corrected.get(name),
            None if one.accuracy is None else detectable(one.accuracy.macro, POWER),
        )
        for name, one in found.items()
    ]


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values of several tests, so that the chance of one false discovery in all stays what it was.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    corrected: dict[str, float] = {}
    least = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda one: p_values[one])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = least
    return corrected
