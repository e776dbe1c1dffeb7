"""Verdicts added up: accuracy, false claims and overlap of every arm, with intervals over clips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError
from vidapt.measure.verdicts import (
    BLIND,
    CONTROL_ARMS,
    MAJORITY,
    MODEL,
    ONE_FRAME,
    OTHER_CLIP,
    PREDICTIONS,
    SHUFFLED_FRAMES,
    Broken,
    Header,
    Verdict,
    arm_words,
    read_kept,
)
from vidapt.metrics.accuracy import Accuracy, Answer, accuracy
from vidapt.metrics.claims import ClaimCounts, ClaimRates, claim_rates
from vidapt.metrics.intervals import Interval
from vidapt.metrics.spans import RIGHT_AT, StretchScores, stretch_scores
from vidapt.metrics.text import CaptionScores, caption_scores

CLAIM_RATES = {"false claims": "false_claim_rate", "precision": "precision", "recall": "recall"}
"""Rates of `ClaimRates` by what tables call them."""

BESIDE = (MAJORITY, *CONTROL_ARMS)
"""Arms that stand beside the model's."""

HEAD = ("question type", "n", "accuracy", "95 % interval", *map(arm_words, BESIDE))
"""Columns of `Evaluation.rows`."""

ARMS = (MODEL, *CONTROL_ARMS, MAJORITY)


@dataclass(frozen=True, slots=True)
class ArmScores:
    """Scores of one arm.

    Attributes:
        accuracy: Of questions with accepted answers; None if there are none.
        claims: Of free texts, all types together; None if no log tells truth from invention.
        claim_types: The same per type.
        overlap: Of free texts with their references, per type; empty where claims are judged.
        times: Of questions about time, how well the answers agree with the truth; None if there are none.
    """

    accuracy: Accuracy | None
    claims: ClaimRates | None
    claim_types: Mapping[str, ClaimRates]
    overlap: Mapping[str, CaptionScores]
    times: StretchScores | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on one set of questions.

    Attributes:
        name: What the model is called.
        header: What was measured, and with what.
        arms: Scores of the model, of the controls that were asked, and of the majority answer if known.
        verdicts: Every question, in the order of the data.
        broken: Clips that could not be used; their questions are left out.
        notes: What a reader must know to judge the numbers.
    """

    name: str
    header: Header
    arms: Mapping[str, ArmScores]
    verdicts: tuple[Verdict, ...]
    broken: tuple[Broken, ...]
    notes: tuple[str, ...]

    @property
    def judged(self) -> bool:
        """Whether free texts were checked against a log."""
        return bool(self.header.stamp.get("judged"))

    @property
    def amiss(self) -> tuple[str, ...]:
        """Those notes that tell of questions, clips and answers which could not be used as they are."""
        return tuple(_amiss(self.header, self.broken))

    @property
    def clips(self) -> int:
        """Number of clips with verdicts."""
        return len({verdict.clip.id for verdict in self.verdicts})

    @property
    def sources(self) -> int:
        """Number of what these were taken from."""
        return len({verdict.cluster for verdict in self.verdicts})

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON: shares lie in [0, 1], an interval is value, low, high and level."""
        return {
            "name": self.name,
            "clips": self.clips,
            "sources": self.sources,
            "questions": len(self.verdicts),
            "arms": {arm: asdict(scores) for arm, scores in self.arms.items()},
            "quarantined": [asdict(clip) for clip in self.broken],
            "notes": list(self.notes),
            "provenance": {**self.header.about, **self.header.stamp},
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns in which something stands, and their rows."""
        rows = self.rows()
        kept = [place for place in range(len(HEAD)) if any(row[place] != "-" for row in rows)]
        return [HEAD[place] for place in kept], [[row[place] for place in kept] for row in rows]

    def rows(self) -> list[list[str]]:
        """A table under `HEAD`."""
        table = []
        model = self.arms[MODEL]
        if model.accuracy is not None:
            for kind, score in model.accuracy.types.items():
                others = [_of_type(self.arms.get(arm), kind) for arm in BESIDE]
                table.append(_row(kind, score.n, score.accuracy, others))
            others = [_macro(self.arms.get(arm)) for arm in BESIDE]
            table.append(_row("mean of types", model.accuracy.n, model.accuracy.macro, others))
        if model.claims is not None:
            for label, rate in CLAIM_RATES.items():
                others = [_claim_rate(self.arms.get(arm), rate) for arm in BESIDE]
                n = model.claims.total.salient if rate == "recall" else model.claims.total.claims
                table.append(_row(label, n, getattr(model.claims, rate), others))
        if model.times is not None:
            for label, value in time_rates(model.times).items():
                others = [_time_rate(self.arms.get(arm), label) for arm in BESIDE]
                table.append(_row(label, model.times.n, value, others))
        for kind, overlap in model.overlap.items():
            others = [_rouge(self.arms.get(arm), kind) for arm in BESIDE]
            table.append(_row(f"{kind} (ROUGE-L)", overlap.n, overlap.rouge_l, others))
        return table


def read_evaluation(out: Path) -> Evaluation:
    """Read an evaluation back from its folder, scores and all; needs no model.

    Raises:
        ConfigError: If there is none, or it holds no verdict.
        FormatError: If its files cannot be read.
    """
    kept = read_kept(out)
    if kept is None or not kept.verdicts:
        raise ConfigError(out / PREDICTIONS, "holds no verdicts", "run the evaluation first")
    verdicts = tuple(sorted(kept.verdicts, key=lambda verdict: verdict.number))
    answered = [arm for arm in ARMS if all(arm in verdict.predictions for verdict in verdicts)]
    judged = bool(kept.header.stamp.get("judged"))
    return Evaluation(
        name=str(kept.header.about.get("name", "")),
        header=kept.header,
        arms={arm: score(verdicts, arm, judged=judged) for arm in answered},
        verdicts=verdicts,
        broken=kept.broken,
        notes=(*_notes(kept.header, verdicts), *_amiss(kept.header, kept.broken)),
    )


def score(verdicts: Sequence[Verdict], arm: str, *, judged: bool) -> ArmScores:
    """Score one arm.

    Args:
        verdicts: In the order of the data; resampling depends on it.
        arm: One that every verdict has a prediction of.
        judged: Whether free texts carry claims; otherwise their overlap with the references is measured.
    """
    closed = answers(verdicts, arm)
    types = dict.fromkeys(verdict.type for verdict in verdicts if verdict.free)
    counted = judged and bool(types)
    return ArmScores(
        accuracy=accuracy(closed) if closed else None,
        claims=claim_rates(list(claims_per_source(verdicts, arm).values())) if counted else None,
        claim_types={
            kind: claim_rates(list(claims_per_source([v for v in verdicts if v.type == kind], arm).values()))
            for kind in (types if counted else ())
        },
        overlap={}
        if judged
        else {kind: _overlap([v for v in verdicts if v.type == kind], arm) for kind in types},
        times=_times(verdicts, arm),
    )


def time_rates(scores: StretchScores) -> dict[str, Interval]:
    """What is measured of answers about time, by what tables call it."""
    recall = {f"time: recall at {at:g}": interval for at, interval in scores.recall.items()}
    return {"time: mean overlap (IoU)": scores.overlap, **recall}


def _times(verdicts: Sequence[Verdict], arm: str) -> StretchScores | None:
    asked = [(v.predictions[arm], v.stretch, v.cluster) for v in verdicts if v.stretch is not None]
    if not asked:
        return None
    predictions, truths, clips = zip(*asked, strict=True)
    return stretch_scores(predictions, truths, clips)


def answers(verdicts: Sequence[Verdict], arm: str) -> list[Answer]:
    """An arm's answers to the questions that have accepted ones, in order."""
    return [
        Answer(v.cluster, v.type, v.question, v.predictions[arm], v.accept, v.stretch)
        for v in verdicts
        if not v.free
    ]


def claims_per_source(verdicts: Sequence[Verdict], arm: str) -> dict[str, ClaimCounts]:
    """What an arm's free texts claim about the clips of each source, added up, by source."""
    counts: dict[str, ClaimCounts] = defaultdict(ClaimCounts)
    for verdict in verdicts:
        if verdict.free:
            counts[verdict.cluster] += verdict.claims[arm]
    return dict(counts)


def _overlap(verdicts: Sequence[Verdict], arm: str) -> CaptionScores:
    return caption_scores(
        [v.predictions[arm] for v in verdicts],
        [[v.expected] for v in verdicts],
        [v.cluster for v in verdicts],
    )


def _notes(header: Header, verdicts: Sequence[Verdict]) -> list[str]:
    told = header.about.get("sources_are")
    taken = (
        f" and all clips of one source ({told})"
        if told and len({v.cluster for v in verdicts}) < len({v.clip.id for v in verdicts})
        else ""
    )
    notes = [f"Intervals are 95 % bootstrap intervals: the questions of a clip{taken} are drawn together."]
    controls = header.stamp.get("controls", ())
    if BLIND in controls:
        notes.append("Blind: the same model asked without any clip." + _blind_note(header))
    notes += [said for arm, said in _CONTROLS.items() if arm in controls]
    if header.stamp.get("majority"):
        notes.append(
            "Majority: the most common training answer to the question, or else of its type; no model."
        )
    if header.about.get("grouped"):
        notes.append(
            "Questions whose labels name no type are grouped by what they ask: equal questions are one "
            "type, and so are those that are equal but for a slot."
        )
    if any(verdict.stretch is not None for verdict in verdicts):
        notes.append(
            "Answers about time are measured by intersection over union with the true stretch; one that "
            f"reaches {RIGHT_AT:g} counts as right, one that names no stretch has 0."
        )
    if any(verdict.free for verdict in verdicts):
        notes.append(_free_note(judged=bool(header.stamp.get("judged"))))
    return notes


def _amiss(header: Header, broken: Sequence[Broken]) -> Iterator[str]:
    yield from _notes_on_data(header.about)
    if broken:
        yield f"Clips left out with their questions, because they could not be used: {len(broken)}."


_CONTROLS = {
    OTHER_CLIP: (
        "Another clip: the same model shown another clip of the set, about half the set away; each clip "
        "serves exactly one other, and none itself."
    ),
    SHUFFLED_FRAMES: (
        "Shuffled frames: the same model shown the clip's own frames in another order, so that only what "
        "needs their order is lost."
    ),
    ONE_FRAME: (
        "One frame: the same model shown the clip's middle frame in the place of all, so that nothing moves."
    ),
}


def _notes_on_data(about: Mapping[str, Any]) -> Iterator[str]:
    """What became of questions, and where answers come from."""
    if conversations := int(about.get("conversations", 0)):
        yield (
            f"Of conversations of several turns ({conversations}), each question was asked on its own, "
            "without the turns before it."
        )
    if elsewhere := int(about.get("elsewhere", 0)):
        yield f"Questions about several clips or about none, which are not measured: {elsewhere}."
    if "predictions" in about:
        yield _given_note(about)


def _given_note(about: Mapping[str, Any]) -> str:
    said = f"The answers of {about['name']} were given in a file; no model was asked."
    if about["unanswered"]:
        said += f" Questions without an answer, which count as wrong: {about['unanswered']}."
    if about["strangers"]:
        said += f" Answers to questions that are not in the data: {about['strangers']}."
    return said


def _blind_note(header: Header) -> str:
    share = header.about.get("trained_blind")
    if share:
        return f" In its last stage {100 * share:g} % of visits were trained like that."
    return (
        " As far as its folder tells, it was never trained like that, so what it says blind may be babble, "
        "and a low score of it proves nothing (batching.blind trains it)."
    )


def _free_note(*, judged: bool) -> str:
    if judged:
        return (
            "Free texts are checked claim by claim against the log of what happened in the clip. "
            "Sentences the judge cannot read count neither as true nor as false; their number is given."
        )
    return (
        "Free texts are not scored as right or wrong, and are no part of the accuracy. "
        "False claims could not be counted: nothing tells what truly happened in these clips. "
        "ROUGE-L and word F1 compare the wording with the reference; they do not say whether a text is true."
    )


def _row(label: str, n: int, value: Interval | None, others: Sequence[Interval | None]) -> list[str]:
    interval = "-" if value is None else f"{100 * value.low:.1f} - {100 * value.high:.1f}"
    return [label, str(n), _percent(value), interval, *map(_percent, others)]


def _percent(value: Interval | None) -> str:
    return "-" if value is None else f"{100 * value.value:.1f}"


def _of_type(scores: ArmScores | None, kind: str) -> Interval | None:
    return (
        scores.accuracy.types[kind].accuracy if scores is not None and scores.accuracy is not None else None
    )


def _macro(scores: ArmScores | None) -> Interval | None:
    return scores.accuracy.macro if scores is not None and scores.accuracy is not None else None


def _claim_rate(scores: ArmScores | None, rate: str) -> Interval | None:
    value = getattr(scores.claims, rate) if scores is not None and scores.claims is not None else None
    assert value is None or isinstance(value, Interval)
    return value


def _time_rate(scores: ArmScores | None, label: str) -> Interval | None:
    return None if scores is None or scores.times is None else time_rates(scores.times)[label]


def _rouge(scores: ArmScores | None, kind: str) -> Interval | None:
    return scores.overlap[kind].rouge_l if scores is not None else None
