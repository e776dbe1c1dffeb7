"""What protocols give for models: numbers, differences, and both as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vidapt.measure.protocols.human import HEAD as CHECK_HEAD
from vidapt.measure.protocols.human import table as check_table
from vidapt.measure.protocols.kept import Judged
from vidapt.measure.report import Section
from vidapt.measure.verdicts import BLIND, MODEL, arm_words
from vidapt.metrics.case_numbers import Figure, Gap, Numbers, Scored, gaps, numbers, with_errors
from vidapt.metrics.cases import Measure, Told, share
from vidapt.metrics.intervals import RESAMPLES, Interval, detectable
from vidapt.metrics.text import words

WORDS, EMPTY = Measure("words", better=0, unit="words"), Measure("empty answers", better=-1)
"""What stands beside every number of a protocol that reads texts."""

POWER = 0.8
AGREEING = "accuracy"
"""Measure of protocols whose judge says yes or no."""


@dataclass(frozen=True)
class Arm:
    """One model, or one control of it, under a protocol.

    Attributes:
        scored: Every case, to be added up.
        numbers: Of the protocol's measures.
        length: Words of an answer, and the share of empty ones; empty where options were scored.
    """

    scored: tuple[Scored, ...]
    numbers: Numbers
    length: Mapping[str, Figure] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        measures: Sequence[Measure],
        told: Sequence[Told],
        judged: Sequence[Judged],
        *,
        resamples: int = RESAMPLES,
    ) -> Arm:
        """Add up.

        Args:
            measures: Of the protocol.
            told: What was said to each case, at least one.
            judged: The verdicts on it.
            resamples: Number of bootstrap resamples.
        """
        scored = tuple(found.of(one.case) for one, found in zip(told, judged, strict=True))
        plain = [
            Scored(
                one.case.id,
                one.case.source,
                "valid",
                _length(one),
            )
            for one in told
            if not one.scores
        ]
        length = numbers((WORDS, EMPTY), plain, resamples=resamples).figures if plain else {}
        return cls(scored, numbers(measures, scored, resamples=resamples), length)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            **self.numbers.to_dict(),
            "length": {name: one.to_dict() for name, one in self.length.items()},
        }


@dataclass(frozen=True)
class Found:
    """What one protocol found.

    Attributes:
        kind: Its name.
        purpose: What it tells.
        measures: What it measures.
        judged: Whether a judge was asked.
        models: By model, by arm.
        left_out: By model, cases of which a clip could not be used.
        versus: Whether each model but the first is held against the first, which then has no numbers.
        drift: Why models are not compared; empty if they are.
        errors: How often the judge calls no yes, and yes no, at most, by frozen items; None if unknown.
        checked: What a person's check says, by model.
        judge: Id of the judge under this protocol: model, prompts, parser and decoding; empty without one.
    """

    kind: str
    purpose: str
    measures: tuple[Measure, ...]
    judged: bool
    models: Mapping[str, Mapping[str, Arm]]
    left_out: Mapping[str, int]
    versus: bool = False
    drift: str = ""
    errors: tuple[float, float] | None = None
    checked: Mapping[str, Any] = field(default_factory=dict)
    judge: str = ""

    @cached_property
    def counting(self) -> tuple[Measure, ...]:
        """Measures for which any case of the test counts."""
        arms = [arms[MODEL].numbers for arms in self.models.values()]
        return tuple(one for one in self.measures if any(arm.figures[one.name].n for arm in arms))

    @cached_property
    def differences(self) -> dict[str, dict[str, Gap]]:
        """Of each model but the first from the first; empty where they are not compared."""
        if self.drift or self.versus:
            return {}
        first, *others = self.models
        return {
            name: gaps(self.measures, self.models[first][MODEL].scored, self.models[name][MODEL].scored)
            for name in others
        }

    @cached_property
    def seeing(self) -> dict[str, dict[str, Gap]]:
        """What each model has more with the clip than without."""
        return {
            name: gaps(self.measures, arms[BLIND].scored, arms[MODEL].scored)
            for name, arms in self.models.items()
            if BLIND in arms
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "purpose": self.purpose,
            "judged": self.judged,
            "judge_id": self.judge or None,
            "models": {
                name: {arm: one.to_dict() for arm, one in arms.items()} for name, arms in self.models.items()
            },
            "left_out": dict(self.left_out),
            "differences": _plain(self.differences),
            "against_blind": _plain(self.seeing),
            "drift": self.drift or None,
            "judge_errors": None
            if self.errors is None
            else {"false_yes": self.errors[0], "false_no": self.errors[1], "bounds": self._error_bounds()},
            "human_check": dict(self.checked),
        }

    def _error_bounds(self) -> dict[str, list[float]]:
        return {
            name: list(ends)
            for name, arms in self.models.items()
            if (ends := self.possible(arms[MODEL].numbers.figures.get(AGREEING))) is not None
        }

    def possible(self, figure: Figure | None) -> tuple[float, float] | None:
        """From where to where a share of yes can lie: sampling, missing verdicts, errors of the judge."""
        if figure is None or figure.bounds is None or self.errors is None:
            return None
        low, high = figure.bounds
        middle = min(max((low + high) / 2, low), high)
        return with_errors(Interval(middle, low, high), *self.errors)

    def rows(self) -> list[list[str]]:
        """A table for a terminal: protocol, measure, n, then each model's value with its interval."""
        return [
            [self.kind, measure.name, self._counts(measure), *(_cell(figure) for figure in figures)]
            for measure, figures in self._figures()
        ]

    def _figures(self) -> Iterator[tuple[Measure, list[Figure | None]]]:
        arms = [arms[MODEL] for arms in self.models.values()]
        for measure in self.counting:
            yield measure, [arm.numbers.figures.get(measure.name) for arm in arms]
        for measure in (WORDS, EMPTY):
            if any(arm.length for arm in arms):
                yield measure, [arm.length.get(measure.name) for arm in arms]

    def _counts(self, measure: Measure) -> str:
        found = [arms[MODEL].numbers.figures.get(measure.name) for arms in self.models.values()]
        counts = dict.fromkeys(str(one.n) for one in found if one is not None)
        return ", ".join(counts) or str(next(iter(self.models.values()))[MODEL].numbers.cases)

    def sections(self) -> Iterator[Section]:
        """Tables for a report."""
        head = ("measure", "n", *self.models)
        rows = [row[1:] for row in self.rows()] + list(self._of_judge())
        yield Section(f"{self.purpose[:1].upper()}{self.purpose[1:]} ({self.kind})", head, rows)
        if kinds := list(self._kinds()):
            yield Section(f"{self.kind}: by kind", ("kind", *head), kinds)
        name, arms = list(self.models.items())[-1]
        if len(arms) > 1:
            columns = ("measure", *map(arm_words, arms), "gained by looking")
            yield Section(f"{self.kind}: controls of {name}", columns, list(self._controls(name, arms)))
        if self.checked:
            yield Section(f"{self.kind}: checked by a person", CHECK_HEAD, list(check_table(self.checked)))
        if self.differences:
            columns = ("model", "measure", "difference", "95 % interval", "could tell", "so")
            yield Section(f"{self.kind}: beside {next(iter(self.models))}", columns, list(self._compared()))

    def verdict(self) -> str:
        """The outcome in a sentence: the first measure of all models, and what may be said of it."""
        measure = self.counting[0] if self.counting else self.measures[0]
        said = []
        for name, arms in self.models.items():
            value = arms[MODEL].numbers.figures[measure.name].value
            gap = self.differences.get(name, {}).get(measure.name)
            number = "unknown" if value is None else f"{_number(value.value, measure)}{_SIGN[measure.unit]}"
            said.append(f"{name} {number}{'' if gap is None else f' ({gap.words})'}")
        return f"{self.kind}, {measure.name}: {', '.join(said)}"

    def _of_judge(self) -> Iterator[list[str]]:
        """How the judge fared, and what may follow from it."""
        if not self.judged:
            return
        arms = [arms[MODEL].numbers for arms in self.models.values()]
        yield ["verdicts refused", "", *(f"{one.refused} of {one.cases}" for one in arms)]
        yield ["verdicts invalid", "", *(f"{one.invalid} of {one.cases}" for one in arms)]
        if any(one.refused or one.invalid for one in arms):
            for measure in self.counting:
                bounds = [one.figures[measure.name].bounds for one in arms]
                yield [
                    f"{measure.name}, whatever the missing verdicts are",
                    "",
                    *(
                        "-" if b is None else f"{_number(b[0], measure)} to {_number(b[1], measure)}"
                        for b in bounds
                    ),
                ]
        if self.errors is not None and AGREEING in arms[0].figures:
            possible = [self.possible(one.figures[AGREEING]) for one in arms]
            yield [
                f"{AGREEING}, allowing for the judge's errors",
                "",
                *("-" if p is None else f"{100 * p[0]:.1f} to {100 * p[1]:.1f}" for p in possible),
            ]

    def _kinds(self) -> Iterator[list[str]]:
        arms = [arms[MODEL].numbers for arms in self.models.values()]
        for kind in dict.fromkeys(kind for one in arms for kind in one.kinds):
            for measure in self.counting:
                figures = [one.kinds.get(kind, {}).get(measure.name) for one in arms]
                count = max((one.n for one in figures if one is not None), default=0)
                if count:
                    yield [kind, measure.name, str(count), *map(_cell, figures)]

    def _controls(self, name: str, arms: Mapping[str, Arm]) -> Iterator[list[str]]:
        seeing = self.seeing.get(name, {})
        for measure in self.counting:
            gap = seeing.get(measure.name)
            gained = "-" if gap is None or gap.value is None else _signed(gap.value, measure)
            values = [arm.numbers.figures[measure.name].value for arm in arms.values()]
            yield [
                measure.name,
                *("-" if one is None else _number(one.value, measure) for one in values),
                gained if gap is None else f"{gained}, {gap.words}",
            ]

    def _compared(self) -> Iterator[list[str]]:
        for name, found in self.differences.items():
            for measure in self.counting:
                gap = found[measure.name]
                if gap.value is None:
                    yield [name, measure.name, "-", "-", "-", gap.words]
                    continue
                yield [
                    name,
                    measure.name,
                    _plus(gap.value.value, measure),
                    f"{_plus(gap.value.low, measure)} to {_plus(gap.value.high, measure)}",
                    _number(detectable(gap.value, POWER), measure),
                    gap.words,
                ]

    def notes(self) -> Iterator[str]:
        """What a reader must know."""
        name = self.kind.replace("_", " ")
        missing = sum(
            arm.numbers.refused + arm.numbers.invalid
            for arms in self.models.values()
            for arm in arms.values()
        )
        if missing:
            yield (
                f"{name}: verdicts that the judge refused or that could not be read ({missing} with all "
                "controls) are in no number; the bounds say what the numbers would be had all of them been "
                "the worst, or the best, that a verdict can be."
            )
        told = sum(len(self.counting) for _ in self.differences)
        if told > 1:
            yield (
                f"{name}: {told} differences are told, each by an interval of its own. Of twenty that are "
                "none, one is told as a difference."
            )
        if self.errors is not None:
            yield (
                f"{name}: by frozen items whose verdicts are known, the judge calls at most "
                f"{100 * self.errors[0]:.0f} % of what is no yes, and {100 * self.errors[1]:.0f} % of what "
                "is yes no (95 % bounds); the row that allows for its errors takes the worst of both."
            )
        if self.drift:
            yield f"{name}: models are not compared. {self.drift}"
        for model, count in self.left_out.items():
            if count:
                yield f"{name}: cases of {model} left out, because their clips could not be used: {count}."
        if any(measure.published for measure in self.measures):
            yield (
                f"{name}: what is named 'as published' gets better when less is said; read it beside recall "
                "and words."
            )


def _length(told: Told) -> dict[str, tuple[float, float]]:
    """Words of what the model itself said."""
    own = told.answers[-len(told.case.posed) :]
    counts = float(sum(len(words(text)) for text in own)), float(len(own))
    return {WORDS.name: counts, EMPTY.name: share(not all(text.strip() for text in own))}


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    one, measure = figure.value, figure.measure
    return f"{_number(one.value, measure)} ({_number(one.low, measure)} to {_number(one.high, measure)})"


_SIGN = {"percent": " %", "points": "", "words": ""}


def _number(value: float, measure: Measure) -> str:
    shown = f"{100 * value:.1f}" if measure.unit == "percent" else f"{value:.2f}"
    return shown.replace("-", "−")


def _plus(value: float, measure: Measure) -> str:
    # What is shown as zero is never minus zero.
    shown = (
        f"{round(100 * value, 1) + 0.0:+.1f}"
        if measure.unit == "percent"
        else f"{round(value, 2) + 0.0:+.2f}"
    )
    return shown.replace("-", "−")


def _signed(one: Interval, measure: Measure) -> str:
    return f"{_plus(one.value, measure)} ({_plus(one.low, measure)} to {_plus(one.high, measure)})"


def _plain(found: Mapping[str, Mapping[str, Gap]]) -> dict[str, dict[str, Any]]:
    return {name: {measure: gap.to_dict() for measure, gap in each.items()} for name, each in found.items()}
