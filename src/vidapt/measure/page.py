"""What a report says, in words and numbers ready to be laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vidapt.measure.charts import Point, scale
from vidapt.measure.compare import Comparison, compare
from vidapt.measure.evaluation import Evaluation, time_rates
from vidapt.measure.sections import signed_percent
from vidapt.measure.verdicts import (
    BLIND,
    CONTROL_ARMS,
    MAJORITY,
    MODEL,
    ONE_FRAME,
    OTHER_CLIP,
    SHUFFLED_FRAMES,
    arm_words,
)
from vidapt.metrics.intervals import Interval

NONE = "–"
RATES = (("false claims", "false_claim_rate", -1), ("told", "recall", 1))
"""Rates of free texts: name in the table, name of the attribute, and whether more is better."""

CONTROLS = {arm: arm_words(arm) for arm in (MAJORITY, *CONTROL_ARMS)}


@dataclass(frozen=True, slots=True)
class Cell:
    """A share in percent, and its interval; both empty if unknown."""

    value: str = NONE
    interval: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A difference in points, its interval, and whether it is a gain, a loss or neither."""

    value: str
    interval: str
    direction: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        label: What it is about.
        n: Of how many.
        cells: The controls, then every evaluation.
        chart: The same as a drawing.
        change: Last evaluation less first; None where there is only one, or no pair.
        total: Whether it sums up the lines above.
    """

    label: str
    n: int
    cells: tuple[Cell, ...]
    chart: Markup
    change: Change | None = None
    total: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Lines under the names of their columns.

    Attributes:
        columns: Names of the cells' columns.
        kinds: Class of the mark of each.
        rows: The lines.
    """

    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """A number worth a glance: what it is, the number, and what it means."""

    label: str
    value: str
    note: str


class Numbers:
    """Turns evaluations into tables and sentences.

    Args:
        evaluations: By label, the first one before, the last one after; controls are those of the last.
        comparison: Last less first; None for a single evaluation.
    """

    def __init__(self, evaluations: Mapping[str, Evaluation], comparison: Comparison | None) -> None:
        self.evaluations, self.comparison = dict(evaluations), comparison
        self.labels = list(self.evaluations)
        self.last = self.evaluations[self.labels[-1]]
        self.controls = [arm for arm in CONTROLS if arm in self.last.arms]

    def accuracy(self) -> Table | None:
        """Accuracy per question type and their mean; None if no question has accepted answers."""
        model = self.last.arms[MODEL].accuracy
        if model is None:
            return None
        gains = self.comparison.accuracy if self.comparison is not None else None
        rows = [
            self._row(
                _words(kind),
                scored.n,
                [self._type(evaluation, arm, kind) for evaluation, arm in self._columns()],
                None if gains is None else gains.types.get(kind),
            )
            for kind, scored in model.types.items()
        ]
        means = [_macro(evaluation, arm) for evaluation, arm in self._columns()]
        gain = None if gains is None else gains.macro
        rows.append(self._row("mean of types", model.n, means, gain, total=True))
        return self._table(rows)

    def truth(self) -> Table | None:
        """False claims and recall of free texts; None where no log was held against them."""
        model = self.last.arms[MODEL]
        if model.claims is None:
            return None
        change = self.comparison.claims if self.comparison is not None else None
        rows = []
        for label, rate, better in RATES:
            total = model.claims.total
            n = total.claims if better < 0 else total.salient
            for kind, scored in model.claim_types.items() if len(model.claim_types) > 1 else ():
                n_kind = scored.total.claims if better < 0 else scored.total.salient
                values = [_claims(evaluation, arm, rate, kind) for evaluation, arm in self._columns()]
                rows.append(self._row(f"{label}: {_words(kind)}", n_kind, values, None, better))
            values = [_claims(evaluation, arm, rate) for evaluation, arm in self._columns()]
            gain = None if change is None else getattr(change, rate)
            rows.append(self._row(f"{label}, all", n, values, gain, better, total=True))
        return self._table(rows)

    def times(self) -> Table | None:
        """Agreement of answers about time with the truth; None if no question asks for it."""
        model = self.last.arms[MODEL].times
        if model is None:
            return None
        rows = [
            self._row(
                label.removeprefix("time: "),
                model.n,
                [_time(*column, label) for column in self._columns()],
                None,
            )
            for label in time_rates(model)
        ]
        return self._table(rows)

    def overlap(self) -> Table | None:
        """Overlap of free texts with their references; None where claims were judged, or there are none."""
        model = self.last.arms[MODEL]
        rows = []
        for kind, scored in model.overlap.items():
            for label, score in (("ROUGE-L", "rouge_l"), ("word F1", "word_f1")):
                values = [_overlap(evaluation, arm, kind, score) for evaluation, arm in self._columns()]
                rows.append(self._row(f"{_words(kind)}: {label}", scored.n, values, None))
        return self._table(rows) if rows else None

    def verdict(self) -> str:
        """The outcome in one sentence."""
        parts = [
            self._said_of_accuracy(),
            self._said_of_seeing(),
            self._said_of_claims(),
            self._said_of_wording(),
        ]
        said = "; ".join(part for part in parts if part)
        return f"{said[:1].upper()}{said[1:]}."

    def tiles(self) -> list[Tile]:
        """The numbers worth a glance."""
        columns = [(evaluation, MODEL) for evaluation in self.evaluations.values()]
        tiles = []
        for label, values, note in (
            ("Accuracy", [_macro(*column) for column in columns], "mean of question types"),
            (
                "False claims",
                [_claims(*column, "false_claim_rate") for column in columns],
                "of all it claims",
            ),
            ("Told", [_claims(*column, "recall") for column in columns], "of what mattered"),
        ):
            if all(value is not None for value in values):
                tiles.append(
                    Tile(label, " → ".join(_number(value) for value in values if value) + " %", note)
                )
        for arm, label, note in (
            (BLIND, "Without the clip", "accuracy of the same model, blind"),
            (OTHER_CLIP, "With another clip", "accuracy of the same model, shown another clip"),
            (SHUFFLED_FRAMES, "Frames shuffled", "accuracy of the same model, shown them in another order"),
            (ONE_FRAME, "With one frame", "accuracy of the same model, shown no motion"),
        ):
            control = _macro(self.last, arm)
            if control is not None:
                tiles.append(Tile(label, f"{_number(control)} %", note))
        return tiles

    def unread(self) -> str:
        """How many statements the judge could not read."""
        counts = [(label, e.arms[MODEL].claims) for label, e in self.evaluations.items()]
        return ", ".join(f"{label} {claims.total.unparsed}" for label, claims in counts if claims is not None)

    def _columns(self) -> list[tuple[Evaluation, str]]:
        controls = [(self.last, arm) for arm in self.controls]
        return controls + [(evaluation, MODEL) for evaluation in self.evaluations.values()]

    def _kinds(self) -> tuple[str, ...]:
        between = ("between",) * (len(self.labels) - 2)
        own = ("first", *between, "last") if len(self.labels) > 1 else ("last",)
        return (*self.controls, *own)

    def _table(self, rows: Sequence[Row]) -> Table:
        return Table((*(CONTROLS[arm] for arm in self.controls), *self.labels), self._kinds(), tuple(rows))

    def _row(
        self,
        label: str,
        n: int,
        values: Sequence[Interval | None],
        gain: Interval | None,
        better: int = 1,
        *,
        total: bool = False,
    ) -> Row:
        columns = [*(CONTROLS[arm] for arm in self.controls), *self.labels]
        points = [
            Point(kind, name, value.value, value.low, value.high)
            for kind, name, value in zip(self._kinds(), columns, values, strict=True)
            if value is not None
        ]
        return Row(label, n, tuple(map(_cell, values)), scale(points), _change(gain, better), total)

    @staticmethod
    def _type(evaluation: Evaluation, arm: str, kind: str) -> Interval | None:
        scored = evaluation.arms[arm].accuracy if arm in evaluation.arms else None
        return scored.types[kind].accuracy if scored is not None and kind in scored.types else None

    def _outer(self) -> tuple[Evaluation, Evaluation]:
        return self.evaluations[self.labels[0]], self.last

    def _said_of_accuracy(self) -> str:
        first, last = (_macro(evaluation, MODEL) for evaluation in self._outer())
        if first is None or last is None:
            return ""
        if self.comparison is None or self.comparison.accuracy is None:
            blind = _macro(self.last, BLIND)
            against = f", against {_number(blind)} % without looking at the clip" if blind is not None else ""
            return f"the model answers {_number(last)} % rightly ({_ends(last)}){against}"
        gain = self.comparison.accuracy.macro
        if not gain.excludes_zero():
            return (
                f"accuracy is not measurably different: {_number(first)} % ({self.labels[0]}), "
                f"{_number(last)} % ({self.labels[-1]}); {signed_percent(gain.value)} points, "
                f"{_ends(gain, signed=True)}"
            )
        moved = "rose" if gain.value > 0 else "fell"
        return (
            f"accuracy {moved} from {_number(first)} % ({self.labels[0]}) to {_number(last)} % "
            f"({self.labels[-1]}): {signed_percent(gain.value)} points, {_ends(gain, signed=True)}"
        )

    def _said_of_seeing(self) -> str:
        """Whether the last model's answers come from the clip: a gain may be one of wording alone."""
        if self.comparison is None or BLIND not in self.last.arms:
            return ""
        seen = compare(self.last, self.last, before_arm=BLIND).accuracy
        if seen is None:
            return ""
        gain = seen.macro
        said = f"{signed_percent(gain.value)} points, {_ends(gain, signed=True)}"
        if gain.value > 0 and gain.excludes_zero():
            return f"with the clip it answers better than without ({said})"
        return f"with the clip it does not answer measurably better than without ({said}), so it may not look"

    def _said_of_claims(self) -> str:
        rate = "false_claim_rate"
        first, last = (_claims(evaluation, MODEL, rate) for evaluation in self._outer())
        if first is None or last is None:
            return ""
        change = (
            self.comparison.claims.false_claim_rate if self.comparison and self.comparison.claims else None
        )
        if change is None:
            return f"of what it claims in its own words, {_number(last)} % is false ({_ends(last)})"
        if not change.excludes_zero():
            return (
                f"the share of false claims did not measurably change ({_number(first)} %, {_number(last)} %)"
            )
        moved = "fell" if change.value < 0 else "rose"
        return f"false claims {moved} from {_number(first)} % to {_number(last)} % of all it claims"

    def _said_of_wording(self) -> str:
        change = self.comparison.overlap if self.comparison is not None else None
        if change is None:
            scores = self.last.arms[MODEL].overlap
            each = ", ".join(f"{_words(kind)} {_number(scored.rouge_l)} %" for kind, scored in scores.items())
            return f"overlap of its texts with the references (ROUGE-L): {each}" if each else ""
        interval = f"{signed_percent(change.value)} points, {_ends(change, signed=True)}"
        if not change.excludes_zero():
            return f"overlap with the reference texts (ROUGE-L) did not measurably change ({interval})"
        moved = "rose" if change.value > 0 else "fell"
        return f"overlap with the reference texts (ROUGE-L) {moved} ({interval})"


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _macro(evaluation: Evaluation, arm: str) -> Interval | None:
    scored = evaluation.arms[arm].accuracy if arm in evaluation.arms else None
    return scored.macro if scored is not None else None


def _claims(evaluation: Evaluation, arm: str, rate: str, kind: str | None = None) -> Interval | None:
    scores = evaluation.arms.get(arm)
    claims = None if scores is None else scores.claims if kind is None else scores.claim_types.get(kind)
    value = None if claims is None else getattr(claims, rate)
    assert value is None or isinstance(value, Interval)
    return value


def _time(evaluation: Evaluation, arm: str, label: str) -> Interval | None:
    scores = evaluation.arms.get(arm)
    return None if scores is None or scores.times is None else time_rates(scores.times)[label]


def _overlap(evaluation: Evaluation, arm: str, kind: str, score: str) -> Interval | None:
    scores = evaluation.arms.get(arm)
    scored = None if scores is None else scores.overlap.get(kind)
    value = None if scored is None else getattr(scored, score)
    assert value is None or isinstance(value, Interval)
    return value


def _cell(value: Interval | None) -> Cell:
    return (
        Cell() if value is None else Cell(_number(value), f"{100 * value.low:.1f} to {100 * value.high:.1f}")
    )


def _change(gain: Interval | None, better: int) -> Change | None:
    if gain is None:
        return None
    direction = "none" if not gain.excludes_zero() else "gain" if gain.value * better > 0 else "loss"
    return Change(
        signed_percent(gain.value), f"{signed_percent(gain.low)} to {signed_percent(gain.high)}", direction
    )


def _number(value: Interval) -> str:
    return f"{100 * value.value:.1f}"


def _ends(value: Interval, *, signed: bool = False) -> str:
    low, high = (signed_percent(end) if signed else f"{100 * end:.1f}" for end in (value.low, value.high))
    return f"95 % interval {low} to {high}"
