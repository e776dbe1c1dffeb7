"""One protocol after another carried out on what models have said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.files import write_text
from vidapt.measure.command import Asking
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.protocols.human import MEASURE, Checkable, checkable
from vidapt.measure.protocols.judge import Bench, Due
from vidapt.measure.protocols.kept import Judged
from vidapt.measure.protocols.plan import Chosen
from vidapt.measure.protocols.results import Arm, Found
from vidapt.measure.protocols.scoring import Scores
from vidapt.measure.protocols.thermometer import Readings, state, take_reading
from vidapt.measure.verdicts import CONTROL_ARMS, MODEL
from vidapt.metrics.cases import Told


@dataclass
class Work:
    """Carries out protocols one by one.

    Attributes:
        evaluations: By model.
        scores: By model, by protocol.
        bench: Where verdicts come from.
        readings: Of the frozen items.
        asking: Shows progress.
        folders: Of each model.
        checkable: Verdicts that a person may check.
    """

    evaluations: Mapping[str, Evaluation]
    scores: Mapping[str, Mapping[str, Scores]]
    bench: Bench
    readings: Readings
    asking: Asking
    folders: Mapping[str, Path]
    checkable: list[Checkable] = field(default_factory=list)

    def carry_out(self, one: Chosen) -> Found:
        """Everything that one protocol finds."""
        said = _versus(one, self.evaluations) if one.versus else self._said(one)
        due: dict[tuple[str, str], list[Due]] = {}
        for name, arms in said.items():
            if not arms[MODEL]:
                raise ConfigError(
                    one.kind, f"no case of it was put to {name}", "see the clips in quarantine.jsonl"
                )
            for arm, told in arms.items():
                around = one.part.around(told)
                due[name, arm] = [Due(one, case, around) for case in told]
        drift, errors = self._temperature(one, due)
        models: dict[str, dict[str, Arm]] = {}
        for (name, arm), each in due.items():
            judged = self.bench.judged(each, self.asking.report, f"{one.kind}: {name}")
            models.setdefault(name, {})[arm] = Arm.of(one.part.measures, said[name][arm], judged)
            if arm == MODEL:
                _write_cases(self.folders[name] / f"{one.kind}.jsonl", said[name][arm], judged)
                if one.part.judged and any(measure.name == MEASURE for measure in one.part.measures):
                    self.checkable += checkable(one.kind, name, said[name][arm], judged)
        return Found(
            one.kind,
            one.part.purpose,
            one.part.measures,
            one.part.judged,
            models,
            {name: len(one.cases) - len(arms[MODEL]) for name, arms in said.items()},
            versus=one.versus,
            drift=drift,
            errors=errors,
            judge=digest([self.bench.judge_id, one.identity], 16) if one.part.judged else "",
        )

    def _temperature(
        self, one: Chosen, due: Mapping[tuple[str, str], Sequence[Due]]
    ) -> tuple[str, tuple[float, float] | None]:
        """Whether the judge has drifted, and how often it errs; it is read each time that it is to judge."""
        if not one.part.judged or self.bench.settings is None:
            return "", None
        if self.bench.judge is not None and any(map(self.bench.lacks, due.values())):
            take_reading(self.bench.judge, one, self.readings, self.bench.settings.frozen, self.asking.report)
        found = state(self.bench, one, self.readings, self.bench.settings.drift)
        return found.drift, found.errors

    def _said(self, one: Chosen) -> dict[str, dict[str, list[Told]]]:
        """By model and arm, what was said to each case."""
        if one.scored:
            return {name: dict(self.scores[name][one.kind].told(one.cases)) for name in self.folders}
        found: dict[str, dict[str, list[Told]]] = {}
        for name, evaluation in self.evaluations.items():
            arms = (MODEL, *(arm for arm in CONTROL_ARMS if arm in evaluation.arms))
            found[name] = {
                arm: list(one.told({v.sample: v.predictions[arm] for v in evaluation.verdicts}))
                for arm in arms
            }
        return found


def _versus(one: Chosen, evaluations: Mapping[str, Evaluation]) -> dict[str, dict[str, list[Told]]]:
    """By each model but the first, both models' answers."""
    first, *others = (
        {told.case.id: told for told in one.told({v.sample: v.predictions[MODEL] for v in each.verdicts})}
        for each in evaluations.values()
    )
    names = list(evaluations)[1:]
    return {
        name: {
            MODEL: [
                Told(told.case, (first[case].answers[0], told.answers[0]))
                for case, told in other.items()
                if case in first
            ]
        }
        for name, other in zip(names, others, strict=True)
    }


def _write_cases(path: Path, told: Sequence[Told], judged: Sequence[Judged]) -> None:
    """Every case with what was said and found, a line each."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in _case_rows(told, judged)))


def _case_rows(told: Sequence[Told], judged: Sequence[Judged]) -> Iterator[dict[str, Any]]:
    for one, found in zip(told, judged, strict=True):
        yield {
            "case": one.case.id,
            "row": one.case.row,
            "clip": one.case.clip.id,
            "kind": one.case.kind,
            "asked": [posed.text for posed in one.case.posed],
            "answers": list(one.answers),
            "status": found.status,
            "reason": found.reason,
            "terms": {name: list(pair) for name, pair in found.terms.items()},
            "shown": dict(found.shown),
        }
