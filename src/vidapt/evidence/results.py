"""What a job writes: labels with their claims, a row of evidence for each label, and what cannot be used."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.claims import Claim, Verdict, said
from vidapt.errors import ConfigError
from vidapt.evidence.arms import Arm
from vidapt.evidence.ask import Answers, ClipAnswers
from vidapt.evidence.inputs import Inputs
from vidapt.evidence.provenance import Provenance
from vidapt.evidence.scores import Score, Scored, Unusable
from vidapt.evidence.settings import Settings
from vidapt.evidence.verdicts import Thresholds, unseen_types, verdict
from vidapt.files import write_file, write_json
from vidapt.formats import shards_of
from vidapt.formats.vidapt_jsonl import write
from vidapt.nouns import Sample

_ENDS = ("evidence.jsonl", "evidence.json", "quarantine.jsonl", "scores.jsonl")


@dataclass(frozen=True)
class Place:
    """Files of a job, by the name of the labels it writes.

    Attributes:
        out: Labels with the column `claims`.
        rows: A row of evidence for each label.
        numbers: The summary.
        quarantine: What cannot be used, and why.
        scores: What is scored already, so that nothing is scored twice.
    """

    out: Path
    rows: Path
    numbers: Path
    quarantine: Path
    scores: Path

    @classmethod
    def of(cls, out: Path) -> Place:
        """Those beside a file."""
        return cls(out, *(out.with_name(f"{out.stem}.{end}") for end in _ENDS))

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return self.out, self.rows, self.numbers, self.quarantine, self.scores

    def refuse(self, labels: Sequence[str | Path]) -> None:
        """See that nothing that is read would be written over.

        Raises:
            ConfigError: If it would, or the name does not end as label files do.
        """
        if self.out.suffix != ".jsonl":
            raise ConfigError(self.out, f"ends in {self.out.suffix!r}", "labels go into a NAME.jsonl")
        read = {os.path.realpath(file) for named in labels for file in shards_of(Path(named))}
        for place in self.files:
            if os.path.realpath(place) in read:
                raise ConfigError(place, "is read here, and would be written over", "give another --out")


@dataclass(frozen=True)
class Found:
    """What an arm found.

    Attributes:
        arm: Which.
        scored: Of each clip.
        models: Fingerprints, by fold.
        learned: Clips that a model had learned from, as far as its run tells.
    """

    arm: Arm
    scored: Sequence[Scored | Unusable]
    models: Mapping[int, str]
    learned: int


@dataclass(frozen=True)
class Judged:
    """A row that was scored.

    Attributes:
        sample: The row.
        claims: What is known of its claims.
        clip: Number of its clip among those scored.
    """

    sample: Sample
    claims: tuple[Claim, ...]
    clip: int


def judged(
    clips: Sequence[ClipAnswers],
    found: Sequence[Found],
    limits: Thresholds,
    settings: Settings,
    told: Provenance,
) -> list[Judged]:
    """Verdicts on all claims of clips that could be used."""
    rows: list[Judged] = []
    for number, clip in enumerate(clips):
        own = found[0].scored[number]
        if not isinstance(own, Scored):
            continue
        arms = [(arm.arm.name, one) for arm in found if isinstance(one := arm.scored[number], Scored)]
        for at, row in enumerate(clip.rows):
            if at in own.unread:
                continue
            scores = [(name, one.claims[at]) for name, one in arms if at not in one.unread]
            claims = _claims(row, scores, limits, settings, told)
            rows.append(Judged(row.sample, claims, number))
    dark = unseen_types((claim for row in rows for claim in row.claims), settings)
    return [replace(row, claims=tuple(_in_the_dark(claim, dark) for claim in row.claims)) for row in rows]


def _in_the_dark(claim: Claim, dark: Collection[str]) -> Claim:
    """A claim that could not be checked, of a type that the model does not see."""
    unseen = claim.verdict == "unchecked" and claim.evidence is not None and claim.type in dark
    return replace(claim, verdict="unseen") if unseen else claim


def _claims(
    row: Answers,
    arms: Sequence[tuple[str, Sequence[Score]]],
    limits: Thresholds,
    settings: Settings,
    told: Provenance,
) -> tuple[Claim, ...]:
    claims = []
    last = [one for one in row.asked if one.turn == len(row.sample.turns) - 1]
    for number, asked in enumerate(row.asked):
        scores = [claims[number] for _, claims in arms]
        own, (start, end) = scores[0], asked.span
        text = said(row.sample, asked.turn)
        assert text is not None
        verdicts = [verdict(one, asked.type, limits, settings) for one in scores]
        agree = None
        if asked in last:
            agree = told.agreement(row.sample.id, last.index(asked), len(last), text[start:end])
        if len(verdicts) > 1 and own.tokens:
            stands = sum(one == "supported" for one in verdicts) / len(verdicts)
            agree = stands if agree is None else min(agree, stands)
        evidence = round(own.evidence, 4) if own.tokens else None
        claims.append(
            Claim(
                turn=asked.turn,
                start=start,
                end=end,
                text=text[start:end],
                type=asked.type,
                verdict=verdicts[0],
                values=asked.values,
                evidence=evidence,
                mean=None if evidence is None else round(own.evidence / own.tokens, 4),
                seen=round(sum(own.seen), 4) if own.tokens else None,
                blind=round(sum(own.blind), 4) if own.tokens else None,
                agreement=None if agree is None else round(agree, 4),
                lost=_lost([name for name, _ in arms], verdicts),
            )
        )
    return tuple(claims)


def _lost(arms: Iterable[str], verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Arms in which a claim does not stand that the first supports."""
    if verdicts[0] != "supported":
        return ()
    return tuple(name for name, one in zip(arms, verdicts, strict=True) if one != "supported")


def written(
    place: Place,
    inputs: Inputs,
    clips: Sequence[ClipAnswers],
    rows: Sequence[Judged],
    found: Found,
    numbers: Mapping[str, Any],
) -> None:
    """Put all files in place, the labels last."""
    by_row = {id(row.sample): row for row in rows}
    unsound = [{"id": None, "clip": None, "reason": one.found, "source": one.where} for one in inputs.unsound]
    missing = [
        {"id": one.id, "clip": str(one.media[0].path), "reason": inputs.missing[one.id], "source": one.source}
        for one in inputs.rows
        if one.id in inputs.missing
    ]
    broken = [
        {"id": row.sample.id, "clip": str(clip.clip.path), "reason": one.reason, "source": row.sample.source}
        for clip, one in zip(clips, found.scored, strict=True)
        if isinstance(one, Unusable)
        for row in clip.rows
    ]
    unread = [
        {"id": sample.id, "clip": str(clip.clip.path), "reason": reason, "source": sample.source}
        for clip, one in zip(clips, found.scored, strict=True)
        if isinstance(one, Scored)
        for at, reason in one.unread.items()
        for sample in [clip.rows[at].sample]
    ]
    _write_lines(place.quarantine, [*unsound, *missing, *broken, *unread])
    _write_lines(place.rows, (_row(row, clips[row.clip], found) for row in rows))
    write_json(place.numbers, numbers)
    there = (one for one in inputs.rows if one.id not in inputs.missing)
    write(
        place.out,
        (replace(one, claims=by_row[id(one)].claims) if id(one) in by_row else one for one in there),
    )


def _row(row: Judged, clip: ClipAnswers, found: Found) -> dict[str, Any]:
    fold = found.arm.fold(clip.clip)
    return {
        "id": row.sample.id,
        "clip": str(clip.clip.path),
        "start_s": clip.clip.start_s,
        "end_s": clip.clip.end_s,
        "model": found.models[fold],
        "fold": fold or None,
        "claims": [claim.to_dict() for claim in row.claims],
    }


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    def lines(part: Path) -> None:
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    write_file(path, lines)
