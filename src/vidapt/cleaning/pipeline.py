"""Checks asked in their order, and all of them again until none has anything more to say.

What a check drops changes what the others see: quantiles, templates, shares. Asking until nothing changes
means that what comes out, cleaned again, stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from vidapt.cleaning.labels import Check, Fate, Label, Origin, Verdict, drop, labels_of
from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.formats.vidapt_jsonl import refuse_unwritable
from vidapt.nouns import Sample
from vidapt.progress import Reporter, silent

_MOST_ROUNDS = 100


@dataclass
class Told:
    """What a check did.

    Attributes:
        version: Of the check.
        judged: Labels that it was first shown.
        dropped: Rows.
        rewritten: Rows.
    """

    version: int
    judged: int = 0
    dropped: int = 0
    rewritten: int = 0


@dataclass
class Judged:
    """What became of rows.

    Attributes:
        kept: Rows that are kept, by their ids, in their order and as they are now.
        fates: Of those that are not as they were, by id.
        told: Of every check, in their order.
        rounds: How often all checks were asked.
    """

    kept: dict[str, Sample]
    fates: dict[str, Fate] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    rounds: int = 0


def judge_all(
    samples: Iterable[Sample],
    origins: Mapping[str, Origin],
    checks: Mapping[str, Check],
    report: Reporter = silent,
    settled: Collection[str] = (),
) -> Judged:
    """Ask all checks of all labels.

    A row is set aside if one of its texts is. It is told what the first check said that did so.

    Args:
        samples: Rows, each with an id of its own.
        origins: Where rows come from, by id.
        checks: By name, in their order.
        report: Shows progress.
        settled: Ids of rows that stay as they are whatever is said of them: checks see them, since other rows
            are like them, or contradict them.

    Raises:
        ConfigError: If a check does not give one verdict for each label.
        VidaptError: If checks rewrite what others rewrite, without an end.
    """
    found = Judged({sample.id: sample for sample in samples})
    found.told = {name: Told(check.version) for name, check in checks.items()}
    while found.rounds < _MOST_ROUNDS:
        found.rounds += 1
        changed = False
        for done, (name, check) in enumerate(checks.items(), 1):
            report(f"clean, round {found.rounds}", done, len(checks))
            changed |= _ask(name, check, found, origins, settled)
        if not changed:
            return found
    raise VidaptError("checks", f"do not come to rest in {_MOST_ROUNDS} rounds", "leave one of them out")


def _ask(
    name: str, check: Check, found: Judged, origins: Mapping[str, Origin], settled: Collection[str]
) -> bool:
    """Ask one check, and do as it says; returns whether anything changed."""
    labels = [label for sample in found.kept.values() for label in labels_of(sample, origins)]
    told = found.told[name]
    if found.rounds == 1:
        told.judged = len(labels)
    dropped: dict[str, Verdict] = {}
    rewritten: dict[str, tuple[Sample, Verdict]] = {}
    try:
        for label, verdict in zip(labels, check.judge(labels), strict=True):
            if label.sample.id not in settled:
                _note(label, verdict, dropped, rewritten)
    except ValueError as error:
        if "zip()" not in str(error):
            raise
        raise ConfigError(f"checks.{name}", "does not give one verdict for each label") from None
    for key, (now, verdict) in rewritten.items():
        _rewrite(found, key, now, verdict, name, told, dropped)
    for key, verdict in dropped.items():
        before = found.fates.get(key)
        came = before.sample if before is not None else found.kept[key]
        del found.kept[key]
        found.fates[key] = Fate(came, verdict, name, told.version)
        told.dropped += 1
    return bool(dropped or rewritten)


def _note(
    label: Label, verdict: Verdict, dropped: dict[str, Verdict], rewritten: dict[str, tuple[Sample, Verdict]]
) -> None:
    """Note what a check says of one text for its row."""
    key = label.sample.id
    if verdict.outcome == "drop":
        dropped.setdefault(key, verdict)
    elif verdict.outcome == "rewrite":
        row, first = rewritten.get(key, (label.sample, verdict))
        rewritten[key] = replace(label, sample=row).rewritten(verdict.text), first


def _rewrite(
    found: Judged,
    key: str,
    now: Sample,
    verdict: Verdict,
    name: str,
    told: Told,
    dropped: dict[str, Verdict],
) -> None:
    """Put a rewritten row in the place of what was there; one that no label file can hold is dropped."""
    if key in dropped:
        return
    try:
        refuse_unwritable(now)
    except FormatError as error:
        dropped[key] = drop(f"{verdict.reason}, and what it becomes cannot be written: {error.found}")
        return
    before = found.fates.get(key)
    came = before.sample if before is not None else found.kept[key]
    found.kept[key] = now
    found.fates[key] = Fate(came, verdict, name, told.version, now)
    told.rewritten += 1
