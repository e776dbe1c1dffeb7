"""Evaluation of a model: every clip seen once, every question asked, every verdict kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
import transformers

import vidapt
from vidapt.errors import BrokenClip, VidaptError
from vidapt.files import write_json
from vidapt.measure.asking import Asked, ClipQuestions, Control, Interview, Said, by_clip, plain, portions
from vidapt.measure.evaluation import Evaluation, read_evaluation
from vidapt.measure.fingerprint import data_fingerprint, model_fingerprint
from vidapt.measure.judging import ClaimJudge, billiards_judge, free_types, type_of
from vidapt.measure.verdicts import (
    BLIND,
    MAJORITY,
    MODEL,
    QUARANTINE,
    SHUFFLED,
    Broken,
    Header,
    Kept,
    Verdict,
    check_stamp,
    open_ledger,
    read_kept,
)
from vidapt.metrics.accuracy import Majority, answer_of, majority
from vidapt.nouns import Clip, Sample

if TYPE_CHECKING:
    from vidapt.captioning.engine import SeenClip
    from vidapt.models.generate import Decoding

__all__ = ["CONTROLS", "METRICS", "Evaluation", "Reporter", "billiards_judge", "evaluate", "silent"]

METRICS = "metrics.json"
CONTROLS: tuple[Control, ...] = ("blind", "shuffled")
QUESTIONS_AT_ONCE = 128

Portion = tuple[ClipQuestions, ...]
Seen = tuple[ClipQuestions, "SeenClip"]


class Reporter(Protocol):
    """Shows how far the work is."""

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of `task`."""


def silent(task: str, done: int, total: int, note: str = "") -> None:
    """A reporter that shows nothing."""


def evaluate(
    engine: Asked,
    samples: Sequence[Sample],
    *,
    out: Path,
    decoding: Decoding,
    train_samples: Sequence[Sample] | None = None,
    controls: Sequence[Control] = CONTROLS,
    workers: int | None = None,
    judge: ClaimJudge | None = None,
    report: Reporter = silent,
    questions_at_once: int = QUESTIONS_AT_ONCE,
    overwrite: bool = False,
) -> Evaluation:
    """Ask a model every question, with controls, and keep every verdict.

    Each clip is seen once and its visual tokens answer all its questions; the control `shuffled` uses the
    same tokens for another clip (see `asking.visiting_order`), `blind` uses none. Verdicts go to
    `predictions.jsonl` and broken clips to `quarantine.jsonl` as they come, all numbers to `metrics.json` at
    the end. A killed evaluation called again goes on behind the last finished portion of clips and ends with
    the same verdicts.

    Args:
        engine: The model.
        samples: Questions about one clip each, with the truth.
        out: Folder of the evaluation; made if missing.
        decoding: How tokens are chosen.
        train_samples: Training labels the majority answer is learned from; None leaves it out.
        controls: Which controls are asked.
        workers: Decoding processes; None is one per core.
        judge: Checks the claims of free texts; without one their words are compared with the reference.
        report: Shows progress.
        questions_at_once: At most so many questions are answered together; fewer need less memory.
        overwrite: Begin anew where the folder holds verdicts of another model or of other questions.

    Raises:
        ConfigError: If a question cannot be asked, or the folder holds verdicts of something else.
        VidaptError: If every clip is broken, or the disk is full.
    """
    work = portions(by_clip(samples), questions_at_once)
    bench = _Bench(free_types(samples), None if train_samples is None else majority(train_samples), judge)
    interview = Interview(engine, decoding, tuple(controls), questions_at_once)
    header = _header(interview, samples, bench)
    kept, finished = _finished(out, header, work, overwrite=overwrite)
    interview.remember((v.question, v.predictions[BLIND]) for v in kept.verdicts if BLIND in v.predictions)
    job = _Job(interview, work, kept, finished, workers or os.cpu_count() or 1)
    with open_ledger(out, kept) as ledger:
        for seen, after in job.seen(ledger.set_aside):
            ledger.add(verdict for said in interview.ask(seen, after) for verdict in bench.verdicts(said))
            report(engine.name, job.done, job.total, f"{job.broken} broken" if job.broken else "")
    if job.broken == job.total:
        raise VidaptError(out / QUARANTINE, f"all {job.total} clips are broken", "read the reasons there")
    evaluation = read_evaluation(out)
    write_json(out / METRICS, evaluation.to_dict())
    return evaluation


@dataclass(frozen=True)
class _Bench:
    """Turns what was said into verdicts."""

    free: frozenset[str]
    baseline: Majority | None
    judge: ClaimJudge | None

    def verdicts(self, said: Said) -> Iterator[Verdict]:
        """The verdicts on all answers about a clip."""
        for place, (number, sample) in enumerate(said.about.samples):
            predictions = {MODEL: said.model[place]}
            if said.blind is not None:
                predictions[BLIND] = said.blind[place]
            if said.shuffled is not None:
                predictions[SHUFFLED] = said.shuffled[place]
            if self.baseline is not None:
                predictions[MAJORITY] = self.baseline.predict(sample)
            clip, free = said.about.clip, type_of(sample) in self.free
            judge = self.judge if free else None
            yield Verdict(
                number=number,
                sample=sample.id,
                clip=clip,
                type=type_of(sample),
                question=plain(sample.question),
                expected=sample.answer,
                accept=answer_of(sample, "").accept,
                free=free,
                predictions=predictions,
                claims={} if judge is None else {arm: judge(clip, text) for arm, text in predictions.items()},
                shuffled_from=said.shuffled_from,
            )


class _Job:
    """Clips still to be seen, in portions, each with the clip that follows it on the ring.

    Attributes:
        done: Clips finished or found broken.
        broken: Clips found broken.
        total: All clips.
    """

    def __init__(
        self, interview: Interview, work: Sequence[Portion], kept: Kept, finished: int, workers: int
    ) -> None:
        self._engine, self._work, self._finished, self._workers = interview.engine, work, finished, workers
        self._bad = {clip.clip for clip in kept.broken}
        self.total = sum(map(len, work))
        self.done = sum(map(len, work[:finished]))

    @property
    def broken(self) -> int:
        return len(self._bad)

    def seen(self, set_aside: Callable[[Broken], None]) -> Iterator[tuple[list[Seen], SeenClip | None]]:
        """Yield the clips of each portion and the clip seen after them; None if there is no other clip.

        Args:
            set_aside: Called with each broken clip.
        """
        held: list[Seen] = []
        place = first = None
        for number, group, clip in self._watch(set_aside):
            first = first or clip
            if held and number != place:
                yield self._portion(held, clip)
                held = []
            place = number
            held.append((group, clip))
        if held:
            head = first if self._finished == 0 else self._again()
            yield self._portion(held, head if head is not None and head.clip != held[-1][1].clip else None)

    def _portion(self, held: list[Seen], after: SeenClip | None) -> tuple[list[Seen], SeenClip | None]:
        self.done += len(held)
        return held, after

    def _watch(self, set_aside: Callable[[Broken], None]) -> Iterator[tuple[int, ClipQuestions, SeenClip]]:
        todo = [
            (number, group)
            for number in range(self._finished, len(self._work))
            for group in self._work[number]
        ]
        # One clip at a time through the tower: batches would be cut differently where a killed job goes on,
        # and sums in another order can tip an answer.
        watched = self._engine.watch([group.clip for _, group in todo], workers=self._workers, batch=1)
        for (number, group), clip in zip(todo, watched, strict=True):
            if isinstance(clip, BrokenClip):
                self._bad.add(group.clip.id)
                self.done += 1
                set_aside(Broken(group.clip.id, str(group.clip.path), clip.reason))
            else:
                yield number, group, clip

    def _again(self) -> SeenClip | None:
        """The first good clip of the ring, which was seen before the job was killed."""
        candidates = [
            group.clip for portion in self._work for group in portion if group.clip.id not in self._bad
        ]
        for candidate in candidates:
            for clip in self._engine.watch([candidate], workers=1, batch=1):
                if not isinstance(clip, BrokenClip):
                    return clip
        return None


def _header(interview: Interview, samples: Sequence[Sample], bench: _Bench) -> Header:
    versions = {
        "vidapt": vidapt.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return Header(
        stamp={
            "format": 1,
            "model": model_fingerprint(interview.engine.model),
            "data": data_fingerprint(samples),
            "decoding": asdict(interview.decoding),
            "controls": list(interview.controls),
            "majority": None if bench.baseline is None else _hash(asdict(bench.baseline)),
            "judged": bench.judge is not None,
            "questions_at_once": interview.questions,
        },
        about={
            "name": interview.engine.name,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions,
            "cut_conversations": sum(sum(turn.role == "user" for turn in s.turns) > 1 for s in samples),
        },
    )


def _finished(out: Path, header: Header, work: Sequence[Portion], *, overwrite: bool) -> tuple[Kept, int]:
    """What is kept from before, and how many portions that finishes.

    Raises:
        ConfigError: If the folder holds verdicts of something else, unless they are to be overwritten.
    """
    kept = read_kept(out)
    if kept is not None and overwrite and kept.header.stamp != header.stamp:
        kept = None
    if kept is None:
        return Kept(header, (), ()), 0
    check_stamp(out, kept, header)
    judged = {verdict.sample for verdict in kept.verdicts}
    bad = {clip.clip for clip in kept.broken}
    finished = 0
    while finished < len(work) and all(_is_done(group, judged, bad) for group in work[finished]):
        finished += 1
    clips: set[Clip] = {group.clip for portion in work[:finished] for group in portion}
    names = {clip.id for clip in clips}
    verdicts = tuple(verdict for verdict in kept.verdicts if verdict.clip.id in names)
    return Kept(kept.header, verdicts, tuple(clip for clip in kept.broken if clip.clip in names)), finished


def _is_done(group: ClipQuestions, judged: set[str], bad: set[str]) -> bool:
    return group.clip.id in bad or all(sample.id in judged for _, sample in group.samples)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
