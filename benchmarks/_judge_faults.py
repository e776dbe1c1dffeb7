"""Evaluations with a judge that is unwell, of which the truth is known: it refuses, mumbles, stalls and errs.

Everything but the judge is vidapt's own: the protocol's questions, how replies are read, the frozen items,
and how verdicts are added up.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from vidapt.measure.protocols.human import checkable, estimated
from vidapt.measure.protocols.judge import Asker, Due, read_reply, verdict
from vidapt.measure.protocols.plan import Chosen, plan_protocols
from vidapt.measure.protocols.results import AGREEING, Arm, Found
from vidapt.measure.protocols.thermometer import errors_of, items, verdicts_on_items
from vidapt.metrics.cases import NoVerdictError, Question, Told
from vidapt.nouns import Clip, Sample, Turn

RIGHT, WRONG = "the red ball falls into the corner pocket", "nothing falls"


@dataclass(frozen=True)
class Faults:
    """What a judge does wrong.

    Attributes:
        flips: Share of verdicts that are the other way round.
        refuses: Share of right answers that it will not judge; wrong ones it judges, so that what is missing
            is not missing at random.
        mumbles: Share of replies that cannot be read; each is asked for three times.
        stalls: Share of questions to which no reply comes.
    """

    flips: float = 0.05
    refuses: float = 0.03
    mumbles: float = 0.1
    stalls: float = 0.02


@dataclass
class UnwellJudge:
    """Stands in for `judge.Asker`.

    Attributes:
        truth: By answer and reference, whether it is right.
        faults: What it does wrong.
        rng: Decides when.
        id: Of the judge.
        tries: How often a question is put.
    """

    truth: Mapping[tuple[str, str], bool]
    faults: Faults
    rng: random.Random
    id: str = "simulated"
    tries: int = 3

    async def ask(self, question: Question, step: str) -> Any:
        """What it says."""
        del step
        lines = dict(line.split(": ", 1) for line in question.prompt.split("\n===\n")[1].split("\n"))
        right = self.truth[json.loads(lines["answer"]), json.loads(lines["reference"])]
        if self.rng.random() < self.faults.stalls:
            raise NoVerdictError("invalid", "no answer within 120 s")
        if right and self.rng.random() < self.faults.refuses:
            raise NoVerdictError("refused", "it refuses")
        if self.rng.random() < self.faults.flips:
            right = not right
        trouble = NoVerdictError("invalid", "was never asked")
        for _ in range(self.tries):
            reply = json.dumps({"verdict": "yes" if right else "no", "score": 5 if right else 0})
            if self.rng.random() < self.faults.mumbles:
                reply = self.rng.choice(["Oui.", "{", '{"verdict": "maybe", "score": 3}', "5"])
            try:
                return read_reply(reply, question)
            except NoVerdictError as error:
                trouble = error
        raise trouble


@dataclass(frozen=True)
class Held:
    """Whether the truth lay within what was reported, and how wide that was.

    Attributes:
        ends: By kind of interval, its ends.
        truth: The true share of right answers.
        missing: Share of verdicts that were missing.
    """

    ends: Mapping[str, tuple[float, float]]
    truth: float
    missing: float = 0.0

    def held(self, kind: str) -> bool:
        """Whether an interval holds the truth."""
        return self.ends[kind][0] <= self.truth <= self.ends[kind][1]


@dataclass
class Hall:
    """Evaluations one after the other.

    Attributes:
        faults: Of the judge.
        cases: Answers in an evaluation.
        sources: Films they come from.
        checked: Answers that a person checks.
        resamples: Of the bootstrap.
    """

    faults: Faults = Faults()
    cases: int = 200
    sources: int = 50
    checked: int = 100
    resamples: int = 2000
    _plan: dict[int, Chosen] = field(default_factory=dict)

    def evaluate(self, seed: int) -> Held:
        """One evaluation of a model whose true accuracy is drawn."""
        rng = random.Random(seed)
        truth = rng.uniform(0.15, 0.9)
        of_source = np.random.default_rng(seed).beta(8 * truth, 8 * (1 - truth), self.sources)
        chosen = self._chosen()
        right = {case.id: rng.random() < of_source[n % self.sources] for n, case in enumerate(chosen.cases)}
        told = [Told(case, (RIGHT if right[case.id] else WRONG,)) for case in chosen.cases]
        known = {(str(one.facts["said"]), one.answer): said == "yes" for one, said in items()}
        known |= {(RIGHT, RIGHT): True, (WRONG, RIGHT): False}
        judge = cast("Asker", UnwellJudge(known, self.faults, rng))
        judged = asyncio.run(_all(judge, [Due(chosen, one) for one in told]))
        readings = asyncio.run(verdicts_on_items(judge, chosen, len(items())))
        arm = Arm.of(chosen.part.measures, told, judged, resamples=self.resamples)
        found = Found(
            chosen.kind, "", chosen.part.measures, True, {"m": {"model": arm}}, {}, errors=errors_of(readings)
        )
        figure = arm.numbers.figures[AGREEING]
        assert figure.value is not None
        assert figure.bounds is not None
        possible = found.possible(figure)
        assert possible is not None
        about = checkable(chosen.kind, "m", told, judged)
        person = {one.key: float(right[one.told.case.id]) for one in rng.sample(about, self.checked)}
        mended = estimated(about, person)
        assert mended is not None
        numbers = arm.numbers
        ends = {
            "interval of valid verdicts": (figure.value.low, figure.value.high),
            "with missing verdicts": figure.bounds,
            "with missing verdicts and the judge's errors": possible,
            "corrected by a person": (mended.low, mended.high),
        }
        return Held(ends, truth, (numbers.refused + numbers.invalid) / numbers.cases)

    def _chosen(self) -> Chosen:
        """The protocol on a test that is the same each time."""
        if self.cases not in self._plan:
            rows = [_row(number, number % self.sources) for number in range(self.cases)]
            self._plan[self.cases] = plan_protocols(rows, ["open_qa"], {}).chosen[0]
        return self._plan[self.cases]


async def _all(judge: Asker, due: Sequence[Due]) -> list[Any]:
    return [await verdict(judge, one, judge.id) for one in due]


def _row(number: int, source: int) -> Sample:
    turns = (Turn("user", f"what happens in clip {number}?"), Turn("assistant", RIGHT))
    clip = Clip(f"{number}", Path(f"{number}.mp4"))
    return Sample(f"r{number}", (clip,), turns, facts={"source": f"s{source}"}, source=f"row {number}")
