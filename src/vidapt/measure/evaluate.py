"""Evaluation of a model: every clip seen once, every question asked, every verdict kept."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers

from vidapt import formats
from vidapt.errors import BrokenClip, VidaptError
from vidapt.files import write_json
from vidapt.inference.changed import CHANGES
from vidapt.measure.asking import (
    Asked,
    ClipQuestions,
    Control,
    Interview,
    about_one_clip,
    by_clip,
    longest_question,
    portions,
)
from vidapt.measure.bench import Bench
from vidapt.measure.evaluation import Evaluation, read_evaluation
from vidapt.measure.judging import ClaimJudge, world_judge
from vidapt.measure.verdicts import (
    BLIND,
    METRICS,
    QUARANTINE,
    Broken,
    Header,
    Kept,
    check_stamp,
    open_ledger,
    read_kept,
)
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter, silent
from vidapt.version import VERSION

if TYPE_CHECKING:
    from vidapt.inference.watch import SeenClip
    from vidapt.models.decoding import Decoding

__all__ = ["CONTROLS", "METRICS", "Evaluation", "evaluate", "world_judge"]

CONTROLS: tuple[Control, ...] = ("blind", "other_clip")
ALL_CONTROLS: tuple[Control, ...] = (*CONTROLS, "shuffled_frames", "one_frame")
QUESTIONS_AT_ONCE, TOKENS_AT_ONCE = 128, 32_768
"""Questions answered together: as many as read so many visual tokens, and no more than so many."""

Portion = tuple[ClipQuestions, ...]
Seen = tuple[ClipQuestions, "SeenClip"]


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
    by: str | None = None,
    report: Reporter = silent,
    questions_at_once: int | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Ask a model every question, with controls, and keep every verdict.

    Each clip is seen once and its visual tokens answer all its questions; the control `other_clip` uses the
    same tokens for another clip (see `asking.visiting_order`), `blind` uses none; with `shuffled_frames` and
    `one_frame` the clip, decoded once, is seen again with its frames changed. Verdicts go to
    `predictions.jsonl` and broken clips to `quarantine.jsonl` as they come, all numbers to `metrics.json` at
    the end. A killed evaluation called again goes on behind the last finished portion of clips and ends with
    the same verdicts.

    Args:
        engine: The model.
        samples: Questions about one clip each, with the truth; of a conversation each question is asked on
            its own.
        out: Folder of the evaluation; made if missing.
        decoding: How tokens are chosen.
        train_samples: Training labels the majority answer is learned from; None leaves it out.
        controls: Which controls are asked.
        workers: Decoding processes; None is one per core, 0 decodes in this process.
        judge: Checks the claims of free texts; without one their words are compared with the reference.
        by: What clips are taken from, such as films or sessions, by which intervals resample; see
            `curation.ties.sessions`.
        report: Shows progress.
        questions_at_once: At most so many questions are answered together, fewer need less memory; None
            decides by the number of visual tokens.
        overwrite: Begin anew where the folder holds verdicts of another model or of other questions.

    Raises:
        ConfigError: If a question cannot be asked, or the folder holds verdicts of something else.
        BudgetError: If a question is longer than the model reads.
        VidaptError: If every clip is broken, or the disk is full.
    """
    conversations = sum(map(formats.is_conversation, samples))
    every = formats.single_questions(samples)
    samples = about_one_clip(every)
    about = {"conversations": conversations, "elsewhere": len(every) - len(samples)}
    bench = Bench.of(samples, train_samples, judge, by)
    at_once = questions_at_once or max(1, min(QUESTIONS_AT_ONCE, TOKENS_AT_ONCE // engine.clip_tokens))
    work = portions(by_clip(samples), at_once)
    interview = Interview(engine, decoding, tuple(controls), at_once)
    header = _header(interview, samples, bench, about)
    kept, finished = _finished(out, header, work, overwrite=overwrite)
    interview.remember((v.question, v.predictions[BLIND]) for v in kept.verdicts if BLIND in v.predictions)
    crew = (os.cpu_count() or 1) if workers is None else workers
    changes = tuple(control for control in interview.controls if control in CHANGES)
    job = _Job(engine, work, kept, finished, crew, longest_question(engine, samples), changes)
    with open_ledger(out, kept) as ledger, closing(job.seen(ledger.set_aside)) as seen_portions:
        for seen, after in seen_portions:
            ledger.add(verdict for said in interview.ask(seen, after) for verdict in bench.verdicts(said))
            report(engine.name, job.done, job.total, f"{job.broken} broken" if job.broken else "")
    if job.broken == job.total:
        raise VidaptError(out / QUARANTINE, f"all {job.total} clips are broken", "read the reasons there")
    evaluation = read_evaluation(out)
    write_json(out / METRICS, evaluation.to_dict())
    return evaluation


class _Job:
    """Clips still to be seen, in portions, each with the clip that follows it on the ring.

    Attributes:
        done: Clips finished or found broken.
        total: All clips.
    """

    def __init__(
        self,
        engine: Asked,
        work: Sequence[Portion],
        kept: Kept,
        finished: int,
        workers: int,
        beside: int,
        changes: Sequence[str] = (),
    ) -> None:
        self._engine, self._work, self._finished = engine, work, finished
        self._workers, self._beside, self._changes = workers, beside, changes
        self._bad = {clip.clip for clip in kept.broken}
        self.total = sum(map(len, work))
        self.done = sum(map(len, work[:finished]))

    @property
    def broken(self) -> int:
        """How many clips were found broken."""
        return len(self._bad)

    def seen(
        self, set_aside: Callable[[Broken], None]
    ) -> Generator[tuple[list[Seen], SeenClip | None], None, None]:
        """Yield the clips of each portion and the clip seen after them; None if there is no other clip.

        Args:
            set_aside: Called with each broken clip.
        """
        held: list[Seen] = []
        first: SeenClip | None = None
        for portion in self._watch(range(self._finished, len(self._work)), set_aside):
            if held and portion:
                self.done += len(held)
                yield held, portion[0][1]
            held = portion or held
            first = first or (held[0][1] if held else None)
        if held:
            head = first if self._finished == 0 else self._first_again(set_aside)
            self.done += len(held)
            yield held, head if head is not None and head.clip != held[-1][1].clip else None

    def _watch(self, numbers: Sequence[int], set_aside: Callable[[Broken], None]) -> Iterator[list[Seen]]:
        """The sound clips of portions; each portion is one batch, so that it is the same in a later job."""
        batches = [[group.clip for group in self._work[number]] for number in numbers]
        watched = self._engine.watch_batches(
            batches, workers=self._workers, beside=self._beside, changes=self._changes
        )
        for number, seen in zip(numbers, watched, strict=True):
            sound: list[Seen] = []
            for group, clip in zip(self._work[number], seen, strict=True):
                if not isinstance(clip, BrokenClip):
                    sound.append((group, clip))
                elif group.clip.id not in self._bad:
                    self._bad.add(group.clip.id)
                    self.done += 1
                    set_aside(Broken(group.clip.id, str(group.clip.path), clip.reason))
            yield sound

    def _first_again(self, set_aside: Callable[[Broken], None]) -> SeenClip | None:
        """The first sound clip of the ring, which was seen before the job was killed."""
        for number in range(len(self._work)):
            for portion in self._watch([number], set_aside):
                for _, clip in portion:
                    return clip
        return None


def _header(
    interview: Interview, samples: Sequence[Sample], bench: Bench, about: Mapping[str, int]
) -> Header:
    versions = {
        "vidapt": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    header = bench.header(
        samples,
        interview.engine.fingerprint,
        name=interview.engine.name,
        versions=versions,
        **about,
        trained_blind=getattr(interview.engine, "card", {}).get("blind", 0.0),
    )
    asked = {
        "decoding": asdict(interview.decoding),
        "controls": list(interview.controls),
        "questions_at_once": interview.questions,
    }
    return replace(header, stamp={**header.stamp, **asked})


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
