"""All gauges that a model has, on a fixed set of questions."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import BrokenClip, ConfigError
from vidapt.formats import open_samples, single_questions
from vidapt.gauges.answers import Held, Holding, gauges_of
from vidapt.gauges.contrast import mean_area
from vidapt.gauges.guards import guards_of
from vidapt.gauges.rivals import rivals_of
from vidapt.inference.engine import CAPTION_PROMPT, Engine
from vidapt.inference.matchers import By, DualMatcher, open_matcher
from vidapt.inference.watch import SeenClip
from vidapt.measure.asking import about_one_clip
from vidapt.measure.judging import ClaimJudge, world_judge
from vidapt.metrics.claims import ClaimCounts
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter, silent

WORDS = {
    "evidence": "share of its doubt about facts that looking takes away",
    "evidence_other_clip": "the same with another clip: to be near 0 or below",
    "evidence_small": "the same with smaller pictures",
    "told_apart": "answers likelier than false ones of their type",
    "chosen": "mean log-probability of a token of the answers",
    "claims": "F1 of claims in captions, less what is contradicted",
    "contradicted": "share of claims in captions that the log denies",
    "empty": "captions without a word",
    "refused": "captions that refuse",
    "words": "words of a caption",
    "told_apart_texts": "true texts nearer to their clip than false ones",
}
"""Gauges in words."""

CAPTION_TOKENS, BATCH = 96, 8


@dataclass(frozen=True)
class GaugeSet:
    """What models are gauged on.

    Attributes:
        data: Labels.
        samples: Questions about one clip each, the same for every model.
        rivals: False answers to them.
        judge: Checks claims of captions, where a world knows what happened.
        clips: Most clips that are captioned.
        side: Longest side of smaller pictures; None leaves that gauge out.
        workers: Decoding processes; None is one per core.
        device: Where models run.
    """

    data: Path
    samples: Sequence[Sample]
    rivals: dict[str, str]
    judge: ClaimJudge | None
    clips: int
    side: int | None
    workers: int | None
    device: str

    @property
    def by_clip(self) -> dict[Clip, list[Sample]]:
        """Questions of each clip."""
        found: dict[Clip, list[Sample]] = {}
        for sample in self.samples:
            found.setdefault(sample.media[0], []).append(sample)
        return found


def gauge_set(
    data: Path,
    *,
    kind: str | None = None,
    media_root: Path | None = None,
    clips: int = 64,
    questions: int = 256,
    side: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> GaugeSet:
    """Read the set.

    Args:
        data: Labels.
        kind: Their format; None tells it from their content.
        media_root: Where clips lie; None is beside the labels.
        clips: Most clips, evenly spread.
        questions: Most questions about them.
        side: Longest side of smaller pictures.
        workers: Decoding processes.
        device: Where models run.

    Raises:
        ConfigError: If no question is about one clip.
        FormatError: If the labels are unsound.
    """
    options = {} if media_root is None else {"media_root": media_root}
    every = about_one_clip(single_questions(list(open_samples(data, kind, **options))))
    names = list(dict.fromkeys(sample.media[0] for sample in every))
    chosen = {names[at * len(names) // min(clips, len(names))] for at in range(min(clips, len(names)))}
    some = [sample for sample in every if sample.media[0] in chosen]
    step = max(1.0, len(some) / questions)
    samples = [some[int(at * step)] for at in range(min(questions, len(some)))]
    judge = world_judge(data if data.is_dir() else data.parent)
    return GaugeSet(data, samples, rivals_of(samples), judge, clips, side, workers, device)


@dataclass(frozen=True)
class Gauged:
    """Gauges of a model.

    Attributes:
        model: As it was given.
        gauges: By name; those it does not have are missing.
        questions: Questions that had a rival.
        broken: Clips that could not be used.
        seconds: How long it took.
    """

    model: str
    gauges: dict[str, float]
    questions: int
    broken: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        plain = {"questions": self.questions, "broken": self.broken, "seconds": self.seconds}
        return {"model": self.model, "gauges": self.gauges, **plain}


def gauge(model: str | Path, wanted: GaugeSet, report: Reporter = silent) -> Gauged:
    """Gauge a model.

    Raises:
        CheckpointError: If there is no such model.
        ConfigError: If no clip can be used.
    """
    began = time.monotonic()
    matcher = open_matcher(model, By.said, wanted.device)
    if isinstance(matcher, DualMatcher):
        found, broken = _dual(matcher, wanted, report)
        questions = len(wanted.rivals)
    else:
        found, broken, questions = _language(matcher.engine, wanted, report)
    return Gauged(str(model), found, questions, broken, round(time.monotonic() - began, 1))


def _language(engine: Engine, wanted: GaugeSet, report: Reporter) -> tuple[dict[str, float], int, int]:
    held, captions, counts, broken = _looked(engine, wanted, report, captioned=True)
    gauges = gauges_of(held)
    told = {} if gauges is None else gauges.to_dict()
    if (guards := guards_of(captions)) is not None:
        told |= guards.to_dict()
    if wanted.judge is not None and counts.claims:
        told |= {"claims": _f1(counts), "contradicted": counts.contradicted / counts.claims}
    if wanted.side is not None:
        engine.side = wanted.side
        small = gauges_of(_looked(engine, wanted, report, captioned=False)[0])
        if small is not None and small.evidence is not None:
            told["evidence_small"] = small.evidence
    return told, broken, 0 if gauges is None else gauges.questions


def _f1(counts: ClaimCounts) -> float:
    """F1 of claims, less the share that is contradicted."""
    precision = counts.supported / counts.claims
    recall = counts.recalled / counts.salient if counts.salient else 0.0
    total = precision + recall
    return (2 * precision * recall / total if total else 0.0) - counts.contradicted / counts.claims


def _looked(
    engine: Engine, wanted: GaugeSet, report: Reporter, *, captioned: bool
) -> tuple[list[Held], list[str], ClaimCounts, int]:
    """What the model holds of every question, captions of all clips, and what they claim."""
    holding = Holding(engine, wanted.rivals)
    held: list[Held] = []
    captions: list[str] = []
    counts, broken, done = ClaimCounts(), 0, 0
    by_clip = wanted.by_clip
    for some in _batches(engine, list(by_clip), wanted.workers):
        seen = [one for one in some if not isinstance(one, BrokenClip)]
        broken += len(some) - len(seen)
        for number, one in enumerate(seen):
            other = [seen[(number + 1) % len(seen)]] if len(seen) > 1 else None
            held += holding.of(by_clip[one.clip], [one], other)
        if captioned and seen:
            asked = [((one,), (CAPTION_PROMPT,)) for one in seen]
            answers = engine.answer(asked, Decoding(max_new_tokens=CAPTION_TOKENS))
            texts = [engine.text(row[0]) for row in answers]
            captions += texts
            if wanted.judge is not None:
                for one, text in zip(seen, texts, strict=True):
                    counts += wanted.judge(one.clip, text)
        done += len(some)
        report(f"gauge {engine.name}", done, len(by_clip))
    if broken == len(by_clip):
        raise ConfigError(wanted.data, "none of its clips can be used", "see `vidapt data check`")
    return held, captions, counts, broken


def _batches(
    engine: Engine, clips: Sequence[Clip], workers: int | None
) -> Iterator[list[SeenClip | BrokenClip]]:
    count = (os.cpu_count() or 1) if workers is None else workers
    batches = [clips[at : at + BATCH] for at in range(0, len(clips), BATCH)]
    with closing(engine.watch_batches(batches, workers=count)) as watched:
        yield from watched


def _dual(matcher: DualMatcher, wanted: GaugeSet, report: Reporter) -> tuple[dict[str, float], int]:
    """Of an encoder: how often a text is nearer to its clip than its falsified copy."""
    by_clip = {
        clip: [one for one in samples if one.id in wanted.rivals] for clip, samples in wanted.by_clip.items()
    }
    count = (os.cpu_count() or 1) if wanted.workers is None else wanted.workers
    pairs, broken = [], 0
    with closing(matcher.watch(list(by_clip), count)) as stream:  # type: ignore[type-var]
        for number, (samples, seen) in enumerate(zip(by_clip.values(), stream, strict=True), start=1):
            report(f"gauge {matcher.name}", number, len(by_clip))
            if isinstance(seen, BrokenClip):
                broken += 1
                continue
            texts = [(one.answer, wanted.rivals[one.id]) for one in samples]
            unreadable = matcher.unreadable(list(itertools.chain.from_iterable(texts)))
            texts = [pair for pair in texts if not unreadable.keys() & set(pair)]
            true, false = ([pair[side] for pair in texts] for side in (0, 1))
            pairs.append((matcher.scores(seen, true), matcher.scores(seen, false)))
    area = mean_area(pairs)
    return ({} if area is None else {"told_apart_texts": area}), broken
