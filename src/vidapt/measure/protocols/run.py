"""`vidapt eval --protocol`: models asked what protocols want to know, judged, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.files import exists, write_json, write_text
from vidapt.measure.command import Asking, model_names
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.paired import HEAD, paired
from vidapt.measure.predicted import is_predictions
from vidapt.measure.protocols.judge import Asker, Bench, Due, open_judge
from vidapt.measure.protocols.kept import VERDICTS, Judged, Verdicts
from vidapt.measure.protocols.plan import Chosen, Planned, plan_protocols
from vidapt.measure.protocols.results import Arm, Found
from vidapt.measure.protocols.rows import read_test
from vidapt.measure.protocols.scoring import Scores, score_cases
from vidapt.measure.protocols.settings import Judging, read_judging
from vidapt.measure.remote import is_remote
from vidapt.measure.report import Section, write_report
from vidapt.measure.sections import PlainTable, write_sections
from vidapt.measure.sections import Section as PlainSection
from vidapt.measure.verdicts import CONTROL_ARMS, METRICS, MODEL
from vidapt.metrics.cases import Told

_EXAMPLE = "judge:\n    url: http://localhost:8000\n    model: NAME"


@dataclass(frozen=True)
class Wanted:
    """Which protocols, and by whom they are judged.

    Attributes:
        kinds: Protocols by name; empty takes those that the rows name.
        judge: File about the judge and about options; None where no judge is needed.
        offline: Whether only verdicts are used that were given before.
        verdicts: File with verdicts that were given elsewhere; None is the one in the folder.
    """

    kinds: Sequence[str] = ()
    judge: Path | None = None
    offline: bool = False
    verdicts: Path | None = None


@dataclass(frozen=True)
class Measured:
    """What protocols found.

    Attributes:
        evaluations: By model; empty where protocols ask no question.
        found: By protocol.
        judge: What is known of the judge; empty where none was needed.
    """

    evaluations: Mapping[str, Evaluation]
    found: Mapping[str, Found]
    judge: Mapping[str, Any]

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
    plan = plan_protocols(rows, wanted.kinds, settings.protocols)
    names = model_names(models)
    _check(plan, names, settings, wanted)
    folders = {name: out if len(names) == 1 else out / name for name in names}
    asking = replace(asking, given=plan.samples)
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
    with ExitStack() as stack:
        bench = _bench(stack, plan, settings, wanted, out)
        found = {
            one.kind: _carried_out(one, evaluations, scores, bench, asking, folders) for one in plan.chosen
        }
        judge = _about(bench)
    measured = Measured(evaluations, found, judge)
    write_json(out / METRICS, measured.to_dict())
    _write_report(measured, out, list(names.values())[-1])
    return measured


def _check(plan: Planned, names: Mapping[str, str | Path], settings: Judging, wanted: Wanted) -> None:
    """See that all can be carried out, before anything is asked."""
    if plan.judged and settings.judge is None:
        where = "--judge" if wanted.judge is None else wanted.judge
        raise ConfigError(
            where,
            f"{' and '.join(plan.judged)} needs a judge, and none is described",
            f"give a YAML file with\n    {_EXAMPLE}",
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
    verdicts = stack.enter_context(Verdicts(wanted.verdicts or out / VERDICTS))
    if not plan.judged:
        return Bench(verdicts, None, None, "")
    described = digest(
        settings.model_dump(mode="json", exclude={"budget", "give_up", "protocols", "drift"}), 24
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


def _carried_out(
    one: Chosen,
    evaluations: Mapping[str, Evaluation],
    scores: Mapping[str, Mapping[str, Scores]],
    bench: Bench,
    asking: Asking,
    folders: Mapping[str, Path],
) -> Found:
    """Everything that one protocol finds."""
    models: dict[str, dict[str, Arm]] = {}
    left_out: dict[str, int] = {}
    said = _versus(one, evaluations) if one.versus else _said(one, evaluations, scores, folders)
    for name, arms in said.items():
        if not arms[MODEL]:
            raise ConfigError(
                one.kind, f"no case of it was put to {name}", "see the clips in quarantine.jsonl"
            )
        left_out[name] = len(one.cases) - len(arms[MODEL])
        models[name] = {}
        for arm, told in arms.items():
            around = one.part.around(told)
            due = [Due(one, case, around) for case in told]
            judged = bench.judged(due, asking.report, f"{one.kind}: {name}")
            models[name][arm] = Arm.of(one.part.measures, told, judged)
            if arm == MODEL:
                _write_cases(folders[name] / f"{one.kind}.jsonl", told, judged)
    return Found(
        one.kind, one.part.purpose, one.part.measures, one.part.judged, models, left_out, versus=one.versus
    )


def _said(
    one: Chosen,
    evaluations: Mapping[str, Evaluation],
    scores: Mapping[str, Mapping[str, Scores]],
    folders: Mapping[str, Path],
) -> dict[str, dict[str, list[Told]]]:
    """By model and arm, what was said to each case."""
    if one.scored:
        return {name: dict(scores[name][one.kind].told(one.cases)) for name in folders}
    found: dict[str, dict[str, list[Told]]] = {}
    for name, evaluation in evaluations.items():
        arms = (MODEL, *(arm for arm in CONTROL_ARMS if arm in evaluation.arms))
        found[name] = {
            arm: list(one.told({v.sample: v.predictions[arm] for v in evaluation.verdicts})) for arm in arms
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
    if "calls" in judge:
        money = "cost unknown" if judge["money"] is None else f"{judge['money']:.4g} {judge['currency']}"
        line += f"; {judge['calls']} replies in all, {judge['tokens']:,} tokens, {money}"
    return line


def _write_report(measured: Measured, out: Path, last: str | Path) -> None:
    sections = [section for one in measured.found.values() for section in one.sections()]
    notes = [note for one in measured.found.values() for note in one.notes()]
    if measured.judge:
        notes.append(f"Judge: {judge_line(measured.judge)}.")
    path = out / "report.html"
    if not measured.evaluations:
        plain = [
            PlainSection(one.title, tables=[PlainTable(one.title, one.columns, one.rows)]) for one in sections
        ]
        first = next(iter(measured.found.values()))
        verdict = f"{first.purpose[:1].upper()}{first.purpose[1:]}."
        write_sections(path, " · ".join(first.models), verdict, plain, notes=notes)
        return
    if len(measured.evaluations) > 1:
        rows = [one.row() for one in paired(measured.evaluations)]
        sections.append(
            Section(f"Beside {next(iter(measured.evaluations))}, by plain comparison", HEAD, rows)
        )
    run = Path(last) if (Path(last) / "run.json").is_file() else None
    title = " · ".join(measured.evaluations)
    write_report(path, measured.evaluations, title=title, run=run, sections=sections, notes=notes)
