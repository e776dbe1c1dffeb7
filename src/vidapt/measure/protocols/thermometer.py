"""Frozen items that a judge is asked each time: whether it still judges as it did, and how often it errs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from vidapt.appended import Appended
from vidapt.measure.protocols.judge import Asker, Bench, Due, verdict
from vidapt.measure.protocols.kept import Judged
from vidapt.measure.protocols.plan import Chosen
from vidapt.metrics.cases import Measure, Told
from vidapt.metrics.corrected import error_bound
from vidapt.nouns import Clip, Sample, Turn
from vidapt.progress import Reporter

READINGS = "thermometer.jsonl"
ITEMS = "thermometer.jsonl"
_MOVED = 0.25
"""Share of a measure's range by which a verdict has to move to count as another one."""

_CLIP = Clip("frozen", Path("frozen"))
Values = Mapping[str, Mapping[str, float]]
"""By item, by measure; an item without a verdict has no measures."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Verdicts on frozen items at one time.

    Attributes:
        judge: Id of the judge.
        protocol: Identity of the protocol, as text.
        values: What the verdicts were.
    """

    judge: str
    protocol: str
    values: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """What readings say of a judge under a protocol.

    Attributes:
        drift: Why verdicts of different times are not compared; empty if they may be.
        errors: How often it calls no yes, and yes no, at most; None where that is not known.
        changed: Items whose verdict is another one than at first.
        count: Items.
    """

    drift: str
    errors: tuple[float, float] | None
    changed: int
    count: int


@cache
def items() -> tuple[tuple[Sample, str], ...]:
    """The frozen items, and whether each answer is right: a question, a reference, and an answer to judge."""
    text = (files("vidapt.measure.protocols") / ITEMS).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(
        (
            Sample(
                row["id"],
                (_CLIP,),
                (Turn("user", row["question"]), Turn("assistant", row["reference"])),
                facts={"said": row["answer"]},
                source=f"frozen item {row['id']}",
            ),
            row["right"],
        )
        for row in rows
    )


class Readings(Appended):
    """Readings of a folder, in order.

    Args:
        path: Made if missing.

    Raises:
        TakenError: If another process has it open.
        VidaptError: If nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._all = [one for _, line in self.lines() if (one := _reading(line)) is not None]

    def of(self, judge: str, protocol: str) -> list[Reading]:
        """Those of a judge under a protocol."""
        return [one for one in self._all if (one.judge, one.protocol) == (judge, protocol)]

    def add(self, one: Reading) -> None:
        """Keep one."""
        self.write({"judge": one.judge, "protocol": one.protocol, "values": one.values})
        self.sync()
        self._all.append(one)


def take_reading(judge: Asker, chosen: Chosen, readings: Readings, count: int, report: Reporter) -> None:
    """Have frozen items judged anew, and keep what came of it.

    Args:
        judge: Who judges.
        chosen: The protocol.
        readings: Of the folder.
        count: How many items, evenly spread over all; with 0 nothing is done.
        report: Shows progress.

    Raises:
        VidaptError: If no question will be answered any more, or the budget is spent.
        KeyboardInterrupt: Once what was under way is answered.
    """
    if not count:
        return
    name = _name(chosen)
    values: dict[str, Mapping[str, float]] = {}

    async def work() -> None:
        def told(done: int) -> None:
            report(f"{chosen.kind}: frozen items", done, count)

        values.update(await verdicts_on_items(judge, chosen, count, told))

    judge.anew(len(readings.of(judge.id, name)) + 1)
    try:
        judge.work([work])
    finally:
        judge.anew(0)
    readings.add(Reading(judge.id, name, values))


async def verdicts_on_items(
    judge: Asker, chosen: Chosen, count: int, tell: Callable[[int], None] = lambda _: None
) -> dict[str, Mapping[str, float]]:
    """What a judge says of frozen items, by their ids; an item without a verdict has no measures.

    Args:
        judge: Who judges.
        chosen: The protocol.
        count: How many items, evenly spread over all.
        tell: Told after each how many are done.
    """
    found: dict[str, Mapping[str, float]] = {}

    async def one(each: Due) -> None:
        found[each.told.case.row] = _values(await verdict(judge, each, judge.id))
        tell(len(found))

    await asyncio.gather(*map(one, _due(chosen, count)))
    return dict(sorted(found.items()))


def state(bench: Bench, chosen: Chosen, readings: Readings, most: float) -> State:
    """What the readings of a folder say.

    Args:
        bench: Whose judge.
        chosen: The protocol.
        readings: Of the folder.
        most: Share of items that may have changed.
    """
    taken = readings.of(bench.judge_id, _name(chosen))
    if not taken:
        return State("", None, 0, 0)
    first, last = taken[0].values, taken[-1].values
    measures = {measure.name: measure for measure in chosen.part.measures}
    both = first.keys() & last.keys()
    changed = sum(_differ(first[row], last[row], measures) for row in both)
    drift = ""
    if changed > most * len(both):
        drift = (
            f"The judge has drifted: of {len(both)} frozen items {changed} have another verdict than when "
            "they were first judged in this folder, so that verdicts of before and now cannot be held "
            "against each other; evaluate all models anew in another folder."
        )
    return State(drift, errors_of(last), changed, len(both))


def errors_of(values: Values) -> tuple[float, float] | None:
    """How often a judge calls no yes, and yes no, at most, by verdicts on frozen items; None without any."""
    wrong, count = {"yes": 0, "no": 0}, {"yes": 0, "no": 0}
    for sample, right in items():
        said = values.get(sample.id, {}).get("accuracy")
        if said is not None:
            count[right] += 1
            wrong[right] += said != (right == "yes")
    if not all(count.values()):
        return None
    return error_bound(wrong["no"], count["no"]), error_bound(wrong["yes"], count["yes"])


def _due(chosen: Chosen, count: int) -> Iterator[Due]:
    every = items()
    samples = [every[place * len(every) // count][0] for place in range(count)]
    said = {sample.id: str(sample.facts["said"]) for sample in samples}
    plain = [replace(sample, facts={}) for sample in samples]
    for case in chosen.part.cases(plain):
        answers = (said[case.row],) * len(case.posed)
        # Of two models the first is taken to have given the reference.
        yield Due(chosen, Told(case, (case.posed[0].reference, *answers) if chosen.versus else answers))


def _values(judged: Judged) -> dict[str, float]:
    return {name: top / bottom for name, (top, bottom) in judged.terms.items() if bottom}


def _differ(one: Mapping[str, float], other: Mapping[str, float], measures: Mapping[str, Measure]) -> bool:
    if one.keys() != other.keys():
        return True
    return any(
        abs(one[name] - other[name]) > _MOVED * (measures[name].high - measures[name].low) for name in one
    )


def _name(chosen: Chosen) -> str:
    return json.dumps(chosen.identity, sort_keys=True)


def _reading(line: Any) -> Reading | None:
    """A line's reading; None if it is damaged."""
    try:
        values = {
            str(row): {str(name): float(value) for name, value in one.items()}
            for row, one in line["values"].items()
        }
        return Reading(str(line["judge"]), str(line["protocol"]), values)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
