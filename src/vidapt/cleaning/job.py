"""Labels cleaned: kept ones in a file, the others with their reasons in one beside it, and the numbers."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidapt.cleaning.cost import Cost, costs
from vidapt.cleaning.decisions import PERSON, Agreement, agreement, fate
from vidapt.cleaning.inputs import Inputs, read_inputs
from vidapt.cleaning.labels import Fate, Given
from vidapt.cleaning.likelihood import Likelihood, likelihood
from vidapt.cleaning.pipeline import Judged, Told, judge_all
from vidapt.cleaning.settings import Cleaning
from vidapt.decisions import Decision, about, fitting, read_decisions
from vidapt.errors import ConfigError, FormatError
from vidapt.files import check_file, write_file, write_json
from vidapt.formats import fingerprint, shards_of
from vidapt.formats.vidapt_jsonl import plain_row, write
from vidapt.locks import owned
from vidapt.nouns import Sample
from vidapt.progress import Reporter, silent
from vidapt.version import VERSION

ROW = "row"
"""The name under which rows that are no labels stand among the checks."""


@dataclass(frozen=True)
class Source:
    """What is to be cleaned.

    Attributes:
        files: Label files, files of provenance, folders, patterns.
        kind: Their format; told from their content if None.
        options: Of the format.
        provenance: Further files of provenance.
        decisions: What a person decided; None if nobody did.
        per_hour: What an hour of the machine costs that captioned; None leaves it unknown.
    """

    files: Sequence[str | Path]
    kind: str | None = None
    options: Mapping[str, Any] | None = None
    provenance: Sequence[Path] = ()
    decisions: Path | None = None
    per_hour: float | None = None


@dataclass(frozen=True)
class Summary:
    """What a job did; `NAME.clean.json` holds the same.

    Attributes:
        out: The file with the kept rows.
        rejected: The file with the others, and with rows that were rewritten as they were.
        rows: How many there were.
        kept: Rows that are kept.
        rewritten: How many of these are not as they were.
        dropped: Rows that are not kept, unsound ones among them.
        again: How many of these a teacher may do better who is asked once more.
        unsound: Rows that are no labels.
        checks: What each check did, in their order; `person` where there are decisions.
        agreement: Of checks and decisions; None without any.
        rounds: How often all checks were asked.
        settings: Hash of the checks' versions and options.
        inputs: Fingerprint of the sound rows.
        blind: Fingerprint of the model that saw no clips; None without one.
        costs: What was spent for each clip that is kept, by who made its labels, where that is known.
        version: Of vidapt.
    """

    out: str
    rejected: str
    rows: int
    kept: int
    rewritten: int
    dropped: int
    again: int
    unsound: int
    checks: Mapping[str, Told]
    agreement: Agreement | None
    rounds: int
    settings: str
    inputs: str
    blind: str | None
    costs: Sequence[Cost] = ()
    version: str = VERSION

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        plain = asdict(self)
        plain["checks"] = {name: asdict(told) for name, told in self.checks.items()}
        plain["costs"] = [one.to_dict() for one in self.costs]
        plain["agreement"] = self.agreement and self.agreement.to_dict()
        return plain


@dataclass(frozen=True)
class Cleaned:
    """A summary with what it sums up.

    Attributes:
        summary: The numbers.
        fates: What became of rows that are not as they were, in the order of the rows.
    """

    summary: Summary
    fates: Sequence[Fate]


@dataclass(frozen=True)
class Places:
    """Files of a job, by the name of the kept rows'."""

    out: Path
    rejected: Path
    numbers: Path
    blind: Path

    @classmethod
    def of(cls, out: Path) -> Places:
        """Those beside a file."""
        return cls(out, *(out.with_name(f"{out.stem}.{end}") for end in _ENDS))


_ENDS = ("rejected.jsonl", "clean.json", "blind.jsonl")


def clean(
    source: Source,
    out: Path,
    settings: Cleaning,
    *,
    blind: str | None = None,
    device: str = "cpu",
    report: Reporter = silent,
) -> Cleaned:
    """Clean labels. The same labels and settings give the same files, byte for byte.

    Rows are held in memory once. Nothing is deleted: what is not kept stands in `NAME.rejected.jsonl`.

    Args:
        source: Which labels.
        out: `NAME.jsonl`, in vidapt's own format.
        settings: Which checks.
        blind: A model that says how likely answers are without the clip; its numbers are kept in
            `NAME.blind.jsonl`, so that a killed job goes on.
        device: Where the model runs.
        report: Shows progress.

    Raises:
        ConfigError: If settings, decisions or places cannot be used, before anything is judged.
        FormatError: If labels are not there, or in no known format.
        CheckpointError: If there is no such model.
        TakenError: If another process cleans into the same file.
    """
    places = Places.of(out)
    _refuse_places(source, places)
    decisions = {} if source.decisions is None else read_decisions(source.decisions)
    settings.opened()  # what they cannot open is told before labels are read
    with ExitStack() as held:
        held.enter_context(owned(out))
        inputs = read_inputs(source.files, source.kind, source.options, source.provenance, source.per_hour)
        scores = held.enter_context(likelihood(blind, places.blind, device, report)) if blind else None
        there = decisions
        if source.decisions is not None:
            rows = ((one.id, about(one)) for one in inputs.samples if one.id in decisions)
            there = fitting(source.decisions, decisions, rows)
        judged, agreed = _judge(inputs, there, len(decisions) - len(there), settings, scores, report)
        summary = _summary(places, inputs, judged, agreed, settings, scores)
        fates = [judged.fates[one.id] for one in inputs.samples if one.id in judged.fates]
        write_file(places.rejected, lambda file: _write_rejected(file, inputs.unsound, fates, out.parent))
        write(out, (judged.kept[one.id] for one in inputs.samples if one.id in judged.kept))
        write_json(places.numbers, summary.to_dict())
    return Cleaned(summary, fates)


def _refuse_places(source: Source, places: Places) -> None:
    """See that nothing that is read would be written over."""
    read = {os.path.realpath(file) for named in source.files for file in shards_of(Path(named))}
    read |= {os.path.realpath(file) for file in (*source.provenance, source.decisions) if file is not None}
    for place in (places.out, places.rejected, places.numbers, places.blind):
        if os.path.realpath(place) in read:
            raise ConfigError(place, "is read here, and would be written over", "give another name in --out")
        check_file(place)
    if places.out.suffix != ".jsonl":
        raise ConfigError(places.out, f"ends in {places.out.suffix!r}", "kept rows go into a NAME.jsonl")


def _judge(
    inputs: Inputs,
    decisions: Mapping[str, Decision],
    unknown: int,
    settings: Cleaning,
    scores: Likelihood | None,
    report: Reporter,
) -> tuple[Judged, Agreement | None]:
    """Judge what no person decided, beside what one kept; and what the checks would have said of all."""
    checks = settings.opened(Given(blind=scores))
    by_person = {one.id: fate(one, decisions[one.id]) for one in inputs.samples if one.id in decisions}
    rows = [row for one in inputs.samples if (row := _as_decided(one, by_person.get(one.id))) is not None]
    judged = judge_all(rows, inputs.origins, checks, report, by_person.keys())
    if not decisions:
        return judged, None
    changed = {key: found for key, found in by_person.items() if found is not None}
    judged.fates |= changed
    dropped = sum(found.now is None for found in changed.values())
    judged.told[PERSON] = Told(1, len(by_person), dropped, len(changed) - dropped)
    opinions = judge_all(inputs.samples, inputs.origins, checks, report)
    return judged, agreement(decisions, opinions, unknown)


def _as_decided(sample: Sample, found: Fate | None) -> Sample | None:
    """A row as a person would have it; None where it was dropped."""
    return sample if found is None else found.now


def _summary(
    places: Places,
    inputs: Inputs,
    judged: Judged,
    agreed: Agreement | None,
    settings: Cleaning,
    scores: Likelihood | None,
) -> Summary:
    origins = inputs.origins
    outcomes = Counter(fate.verdict.outcome for fate in judged.fates.values())
    return Summary(
        out=str(places.out),
        rejected=str(places.rejected),
        rows=len(inputs.samples) + len(inputs.unsound),
        kept=len(judged.kept),
        rewritten=outcomes["rewrite"],
        dropped=outcomes["drop"] + len(inputs.unsound),
        again=sum(fate.verdict.again for fate in judged.fates.values() if fate.now is None),
        unsound=len(inputs.unsound),
        checks=judged.told,
        agreement=agreed,
        rounds=judged.rounds,
        settings=settings.hash,
        inputs=fingerprint(inputs.samples),
        blind=None if scores is None else scores.model,
        costs=costs(inputs.made, [origins[key].made for key in judged.kept if key in origins]),
    )


def _write_rejected(file: Path, unsound: Sequence[FormatError], fates: Sequence[Fate], folder: Path) -> None:
    with file.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as written:
        for row in _rejected(unsound, fates, folder):
            written.write(json.dumps(row, ensure_ascii=False) + "\n")


def _rejected(
    unsound: Sequence[FormatError], fates: Sequence[Fate], folder: Path
) -> Iterator[dict[str, Any]]:
    for error in unsound:
        yield {"id": None, "check": ROW, "version": 1, "verdict": "drop", "reason": error.found} | {
            "again": False,
            "source": error.where,
            "row": None,
        }
    for one in fates:
        row = {
            "id": one.sample.id,
            "check": one.check,
            "version": one.version,
            "verdict": one.verdict.outcome,
            "reason": one.verdict.reason,
            "again": one.verdict.again,
            "source": one.sample.source,
            "row": plain_row(one.sample, folder),
        }
        yield row if one.now is None else row | {"now": plain_row(one.now, folder)}
