"""The numbers of a job: per type of claim, what was found and what to do about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from vidapt.claims import Claim, Verdict
from vidapt.evidence.ask import ClipAnswers
from vidapt.evidence.inputs import Inputs
from vidapt.evidence.results import Found, Judged, Place
from vidapt.evidence.scores import Scored, Unusable
from vidapt.evidence.settings import Settings
from vidapt.evidence.verdicts import Thresholds
from vidapt.version import VERSION

_FEW = 10
"""Claims of which nothing is advised."""

_MANY = 0.15
"""Share of claims from which on it is told that they are unseen, or do not stand elsewhere."""


@dataclass(frozen=True)
class TypeFound:
    """Claims of a type.

    Attributes:
        claims: How many.
        supported: The clip bears them out.
        unseen: It says nothing of them.
        contradicted: It speaks against them.
        unchecked: Nothing could be said.
        median: Evidence of those that have any.
        threshold: Evidence from which on one is supported; less where little can be gained, if `fitted` is
            false.
        fitted: Whether the threshold was fitted to this type.
        lost: Of the supported ones, how many do not stand with other models, fewer frames, smaller pictures;
            by what these are called.
        advice: What to do.
    """

    claims: int
    supported: int
    unseen: int
    contradicted: int
    unchecked: int
    median: float | None
    threshold: float
    fitted: bool
    lost: Mapping[str, int]
    advice: str


@dataclass(frozen=True)
class Summary:
    """What a job did; `NAME.evidence.json` holds the same.

    Attributes:
        out: Labels with their claims.
        rows: Labels that were read.
        scored: Labels with claims.
        clips: Clips that were scored.
        broken: Clips that could not be.
        missing: Labels whose clip is not there; they are left out of `out`.
        unread: Labels that the model cannot read behind their clip, such as too long ones; they stay in `out`
            without claims.
        unsound: Rows that are no labels.
        passed_over: Labels of no clip, or of several, or without an answer; they are kept as they were.
        quarantine: File with the reasons.
        types: By type of claim, the most common first.
        total: Of all.
        models: Fingerprints by fold; 0 where there are none.
        learned: Clips that the model that scored them had learned from.
        arms: What else scored.
        deaf: Clips that these could not read, though the model could; of their claims they say nothing.
        null: False claims that thresholds rest on.
        settings: As they were.
        version: Of vidapt.
    """

    out: str
    rows: int
    scored: int
    clips: int
    broken: int
    missing: int
    unread: int
    unsound: int
    passed_over: int
    quarantine: str
    types: Mapping[str, TypeFound]
    total: TypeFound
    models: Mapping[str, str]
    learned: int
    arms: Sequence[str]
    deaf: Mapping[str, int]
    null: int
    settings: Mapping[str, Any]
    version: str = VERSION

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def summary(
    place: Place,
    inputs: Inputs,
    clips: Sequence[ClipAnswers],
    rows: Sequence[Judged],
    found: Sequence[Found],
    limits: Thresholds,
    settings: Settings,
) -> Summary:
    """Count what was found."""
    members: dict[str, list[Claim]] = defaultdict(list)
    for row in rows:
        for claim in row.claims:
            members[claim.type].append(claim)
    order = sorted(members, key=lambda kind: (-len(members[kind]), kind))
    others = [one.arm.name for one in found[1:]]
    broken = _unusable(found[0])
    return Summary(
        out=str(place.out),
        rows=len(inputs.rows) + len(inputs.unsound),
        scored=len(rows),
        clips=len(clips) - broken,
        broken=broken,
        missing=len(inputs.missing),
        unread=sum(len(one.unread) for one in found[0].scored if isinstance(one, Scored)),
        unsound=len(inputs.unsound),
        passed_over=len(inputs.rows) - len(inputs.scored) - len(inputs.missing),
        quarantine=str(place.quarantine),
        types={kind: _found(members[kind], kind, limits, others) for kind in order},
        total=_found([claim for some in members.values() for claim in some], None, limits, others),
        models={str(fold): model for fold, model in found[0].models.items()},
        learned=found[0].learned,
        arms=others,
        deaf={one.arm.name: _unusable(one) - broken for one in found[1:]},
        null=limits.null,
        settings=settings.model_dump(mode="json"),
    )


def _unusable(found: Found) -> int:
    return sum(isinstance(one, Unusable) for one in found.scored)


def _found(claims: Sequence[Claim], kind: str | None, limits: Thresholds, others: Sequence[str]) -> TypeFound:
    counts = Counter(claim.verdict for claim in claims)
    gone = Counter(name for claim in claims for name in claim.lost)
    lost = {name: gone[name] for name in others}
    known = [claim.evidence for claim in claims if claim.evidence is not None]
    fitted = kind in limits.types
    return TypeFound(
        claims=len(claims),
        supported=counts["supported"],
        unseen=counts["unseen"],
        contradicted=counts["contradicted"],
        unchecked=counts["unchecked"],
        median=round(median(known), 3) if known else None,
        threshold=limits.types[kind] if kind is not None and fitted else limits.overall,
        fitted=fitted,
        lost=lost,
        advice="" if kind is None else _advice(counts, len(claims), lost),
    )


def _advice(counts: Mapping[Verdict, int], claims: int, lost: Mapping[str, int]) -> str:
    """What to do with a type's claims, by what most of them are."""
    checked = claims - counts.get("unchecked", 0)
    if claims < _FEW:
        return "too few to tell"
    if checked < 0.2 * claims:
        return "told as surely without the clip: keep, or cap with `vidapt clean`"
    unseen, contradicted = counts.get("unseen", 0) / checked, counts.get("contradicted", 0) / checked
    told = []
    if unseen >= 0.5:
        told.append("not seen: finer frames, or mask_claims, delete")
    elif unseen >= _MANY:
        told.append("partly unseen: mask_claims")
    if contradicted >= 0.05:
        told.append("label the contradicted ones again")
    told = told or ["keep"]
    for name, gone in lost.items():
        if gone >= _MANY * max(1, counts.get("supported", 0)):
            told.append(f"{gone} of the supported ones not with {name}")
    return "; ".join(told)
