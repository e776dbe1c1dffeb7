"""`vidapt eval --protocol`: models asked what protocols want to know, judged, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vidapt.chat.remote import is_remote
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.files import exists, write_json, write_text
from vidapt.measure.command import Asking, model_names
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.paired import HEAD, paired
from vidapt.measure.predicted import is_predictions
from vidapt.measure.protocols.human import MEASURE, Checkable, checkable, checked, read_check, write_check
from vidapt.measure.protocols.judge import Asker, Bench, Due, open_judge
from vidapt.measure.protocols.kept import VERDICTS, Judged, Verdicts
from vidapt.measure.protocols.plan import Chosen, Planned, plan_protocols
from vidapt.measure.protocols.results import Arm, Found
from vidapt.measure.protocols.rows import read_test
from vidapt.measure.protocols.scoring import Scores, score_cases
from vidapt.measure.protocols.settings import Judging, read_judging
from vidapt.measure.protocols.thermometer import READINGS, Readings, state, take_reading
from vidapt.measure.report import Section, write_report
from vidapt.measure.sections import PlainTable, write_sections
from vidapt.measure.sections import Section as PlainSection
from vidapt.measure.verdicts import CONTROL_ARMS, METRICS, MODEL
from vidapt.metrics.cases import Told

_IN_VERDICT = 3
"""Protocols that the first sentence of a report tells of."""

_EXAMPLE = "judge: {url: http://localhost:8000, model: NAME}"


@dataclass(frozen=True)
class Wanted:
    """Which protocols, and by whom they are judged.

    Attributes:
        kinds: Protocols by name; empty takes those that the rows name.
        judge: File about the judge and about options; None where no judge is needed.
        offline: Whether only verdicts are used that were given before.
        verdicts: File with verdicts that were given elsewhere, which are taken over; None for none.
        check: CSV file for a person: made where there is none, read where there is one; None for no check.
        check_count: How many answers it asks about.
    """

    kinds: Sequence[str] = ()
    judge: Path | None = None
    offline: bool = False
    verdicts: Path | None = None
    check: Path | None = None
    check_count: int = 100


@dataclass(frozen=True)
class Measured:
    """What protocols found.

    Attributes:
        evaluations: By model; empty where protocols ask no question.
        found: By protocol.
        judge: What is known of the judge; empty where none was needed.
        to_check: How many answers a person is now asked about.
    """

    evaluations: Mapping[str, Evaluation]
    found: Mapping[str, Found]
    judge: Mapping[str, Any]
    to_check: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told: dict[str, Any] = {}
        if len(self.evaluations) > 1:
            told["models"] = {name: one.to_dict() for name, one in self.evaluations.items()}
            told["differences"] = [one.to_dict() for one in paired(self.evaluations)]
        elif self.evaluations:
            told = next(iter(self.evaluations.values())).to_dict()
        found = {kind: one.to_dict() for kind, one in self.found.items()}
        return {**told, "protocols": found, "judge": dict(self.judge) or None}

    def tables(self) -> list[tuple[Sequence[str], list[list[str]]]]:
        """What a terminal shows."""
        tables: list[tuple[Sequence[str], list[list[str]]]] = []
        for one in self.found.values():
            tables.append((("protocol", "measure", "n", *one.models), one.rows()))
            sections = [section for section in one.sections() if section.columns[0] == "model"]
            tables += [(section.columns, [list(row) for row in section.rows]) for section in sections]
        return tables

    def remarks(self) -> Iterator[str]:
        """What goes with the tables."""
        for one in self.found.values():
            if one.drift:
                yield f"{one.kind}: {one.drift}"
        if self.judge:
            yield judge_line(self.judge)


def evaluate_protocols(models: Sequence[str | Path], asking: Asking, wanted: Wanted, out: Path) -> Measured:
    """Ask models what protocols want to know, judge what they say, and write numbers and a report.

    Models' answers, judge's replies and verdicts are kept in the folder: a killed job goes on, pays for
    nothing twice, and ends with the same numbers; with `offline` they come out again without the judge.

    Args:
        models: See `measure.command.evaluate_model`.
        asking: What they are asked, and with what; the questions are those of the protocols.
        wanted: Which protocols, and the judge.
        out: Folder of all results.

    Raises:
        ConfigError: If a protocol, a column, the judge or a model cannot be used, before anything is asked.
        VidaptError: If the judge cannot be asked any more; verdicts are kept.
    """
    rows = read_test(asking.data, asking.kind, asking.media_root)
    settings = Judging() if wanted.judge is None else read_judging(wanted.judge)
    plan = plan_protocols(rows, wanted.kinds, settings.protocols, asking.by)
    names = model_names(models)
    _check(plan, names, settings, wanted)
    folders = {name: out if len(names) == 1 else out / name for name in names}
    asking = replace(asking, given=plan.samples)
    with ExitStack() as stack:
        bench = _bench(stack, plan, settings, wanted, out)
        readings = stack.enter_context(Readings(out / READINGS))
        evaluations = {
            name: asking.of(model, folders[name], name) for name, model in names.items() if plan.samples
        }
        scores = {
            name: {
                one.kind: score_cases(model, one.cases, asking, folders[name])
                for one in plan.chosen
                if one.scored
            }
            for name, model in names.items()
        }
        work = _Work(evaluations, scores, bench, readings, asking, folders)
        found = {one.kind: work.carry_out(one) for one in plan.chosen}
        judge = _about(bench)
    found, to_check = _with_check(found, work.checkable, wanted)
    measured = Measured(evaluations, found, judge, to_check)
    write_json(out / METRICS, measured.to_dict())
    _write_report(measured, out, list(names.values())[-1])
    return measured


def _with_check(
    found: dict[str, Found], about: Sequence[Checkable], wanted: Wanted
) -> tuple[dict[str, Found], int]:
    """Results with a person's check, or how many answers a table now asks a person about."""
    if wanted.check is None:
        return found, 0
    if not about:
        raise ConfigError(
            wanted.check,
            "nothing here can be checked",
            "a person checks protocols that say yes or no: caption, open_qa",
        )
    if not exists(wanted.check):
        return found, write_check(wanted.check, about, wanted.check_count)
    if not read_check(wanted.check):
        return found, len(about)
    said = checked(wanted.check, about)
    return {kind: replace(one, checked=said.get(kind, {})) for kind, one in found.items()}, 0


def _check(plan: Planned, names: Mapping[str, str | Path], settings: Judging, wanted: Wanted) -> None:
    """See that all can be carried out, before anything is asked."""
    if plan.judged and settings.judge is None:
        where = "--judge" if wanted.judge is None else wanted.judge
        raise ConfigError(
            where,
            f"{' and '.join(plan.judged)} needs a judge, and none is described",
            f"give a YAML file with `{_EXAMPLE}`",
        )
    for one in plan.chosen:
        if one.versus and len(names) < 2:
            raise ConfigError(
                one.kind, "holds models against each other, and there is one", "give two or more"
            )
        if one.scored:
            for model in names.values():
                if is_predictions(model) or is_remote(model):
                    raise ConfigError(
                        model,
                        f"{one.kind} needs likelihoods, which neither a file of answers nor a server gives",
                        "leave the protocol or this model out",
                    )


def _bench(stack: ExitStack, plan: Planned, settings: Judging, wanted: Wanted, out: Path) -> Bench:
    """Verdicts and judge, open as long as the stack."""
    if wanted.verdicts is not None and not exists(wanted.verdicts):
        raise ConfigError(
            wanted.verdicts, "there is no such file", "give the verdicts.jsonl of an evaluation"
        )
    verdicts = stack.enter_context(Verdicts(out / VERDICTS))
    if wanted.verdicts is not None and wanted.verdicts.resolve() != (out / VERDICTS).resolve():
        verdicts.add_from(wanted.verdicts)
    if not plan.judged:
        return Bench(verdicts, None, None, "")
    described = digest(
        settings.model_dump(mode="json", exclude={"budget", "give_up", "protocols", "drift", "frozen"}), 24
    )
    if wanted.offline:
        known = verdicts.judge_of(described)
        if known is None:
            raise ConfigError(
                verdicts.path,
                "holds no verdict of this judge",
                "leave --offline out, or give the same judge file",
            )
        return Bench(verdicts, settings, None, known)
    judge: Asker = stack.enter_context(open_judge(settings, out))
    verdicts.note_judge(described, judge.id)
    return Bench(verdicts, settings, judge, judge.id)


@dataclass
class _Work:
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


def _about(bench: Bench) -> dict[str, Any]:
    """What is known of the judge and its work."""
    if bench.settings is None or bench.settings.judge is None:
        return {}
    who = bench.settings.judge
    told: dict[str, Any] = {
        "id": bench.judge_id,
        "model": who.model,
        "revision": getattr(who, "revision", ""),
        "given": bench.rates.given,
        "kept": bench.rates.kept,
        "retried": bench.rates.retried,
        "missing": bench.rates.missing,
    }
    if bench.judge is not None:
        spent = bench.judge.spent
        told |= {"calls": spent.calls, "tokens": spent.tokens, "unsettled": spent.unsettled}
        told["money"] = round(spent.money, 9) if bench.judge.priced else None
        told["currency"] = bench.settings.budget.currency
    return told


def judge_line(judge: Mapping[str, Any]) -> str:
    """What is known of a judge, in words."""
    line = f"{judge['model']}{' ' + judge['revision'] if judge['revision'] else ''}, id {judge['id']}: "
    line += (
        f"{judge['given']} verdicts now, {judge['kept']} from before, {judge['retried']} questions put again"
    )
    if judge["missing"]:
        line += f"; no verdict could be read on {judge['missing']} of them, which are in no number"
    if "calls" in judge:
        money = "cost unknown" if judge["money"] is None else f"{judge['money']:.4g} {judge['currency']}"
        line += f"; {judge['calls']} replies in all, {judge['tokens']:,} tokens, {money}"
    return line


def _write_report(measured: Measured, out: Path, last: str | Path) -> None:
    lead = [section for one in measured.found.values() for section in one.sections()]
    notes = [note for one in measured.found.values() for note in one.notes()]
    if measured.judge:
        notes.append(f"Judge: {judge_line(measured.judge)}.")
    told = "; ".join(one.verdict() for one in list(measured.found.values())[:_IN_VERDICT])
    verdict = f"{told[:1].upper()}{told[1:]}."
    path = out / "report.html"
    if not measured.evaluations:
        plain = [PlainSection(one.title, tables=[PlainTable("", one.columns, one.rows)]) for one in lead]
        models = next(iter(measured.found.values())).models
        write_sections(path, " · ".join(models), verdict, plain, notes=notes)
        return
    sections = []
    if len(measured.evaluations) > 1:
        rows = [one.row() for one in paired(measured.evaluations)]
        first = next(iter(measured.evaluations))
        sections.append(Section(f"Beside {first}, by plain comparison", HEAD, rows))
    run = Path(last) if (Path(last) / "run.json").is_file() else None
    write_report(
        path,
        measured.evaluations,
        title=" · ".join(measured.evaluations),
        run=run,
        sections=sections,
        notes=notes,
        lead=lead,
        verdict=verdict,
    )
