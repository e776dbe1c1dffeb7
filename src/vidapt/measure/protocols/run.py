"""`vidapt eval --protocol`: models asked what protocols want to know, judged, and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.chat.remote import is_remote
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.files import exists
from vidapt.measure.command import Asking, model_names
from vidapt.measure.predicted import is_predictions
from vidapt.measure.protocols.human import Checkable, checked, read_check, write_check
from vidapt.measure.protocols.judge import Asker, Bench, open_judge
from vidapt.measure.protocols.kept import VERDICTS, Verdicts
from vidapt.measure.protocols.measured import Measured, write_measured
from vidapt.measure.protocols.plan import Planned, plan_protocols
from vidapt.measure.protocols.results import Found
from vidapt.measure.protocols.rows import read_test
from vidapt.measure.protocols.scoring import score_cases
from vidapt.measure.protocols.settings import Judging, read_judging
from vidapt.measure.protocols.thermometer import READINGS, Readings
from vidapt.measure.protocols.work import Work

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
        work = Work(evaluations, scores, bench, readings, asking, folders)
        found = {one.kind: work.carry_out(one) for one in plan.chosen}
        judge = _about(bench)
    found, to_check = _with_check(found, work.checkable, wanted)
    measured = Measured(evaluations, found, judge, to_check)
    write_measured(measured, out, list(names.values())[-1])
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
