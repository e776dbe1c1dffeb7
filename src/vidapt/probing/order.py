"""How is probed, and which clips are held out together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vidapt.curation.folds import folds as dealt
from vidapt.curation.ties import tie
from vidapt.digests import seed_of
from vidapt.errors import ConfigError
from vidapt.nouns import Clip, Sample, Turn
from vidapt.probing.facts import Fact
from vidapt.progress import Reporter


@dataclass(frozen=True)
class Settings:
    """How is probed.

    Attributes:
        by: What a session is, as `curation.split` has it; clips of one are held out together.
        folds: How many times something is held out.
        least: Examples that a fact needs.
        others: Examples with another than its most common answer that it needs.
        tokens: Most tokens of a clip that are looked at, in each place.
        attentive: Whether attentive probes learn beside linear ones.
        ask: Whether the model is asked the questions.
        frames: Tie clips together that show nearly the same.
        workers: Decoding processes; None is one per core.
    """

    by: str | None = None
    folds: int = 5
    least: int = 20
    others: int = 5
    tokens: int = 256
    attentive: bool = True
    ask: bool = True
    frames: bool = True
    workers: int | None = None


@dataclass(frozen=True)
class Order:
    """Sources and folds of clips.

    Attributes:
        source: What hangs together has one number.
        fold: From 0.
        sessions: What counts as a session, in words.
    """

    source: Mapping[Clip, int]
    fold: Mapping[Clip, int]
    sessions: str


def is_enough(fact: Fact, settings: Settings) -> bool:
    """Whether a fact has examples enough, and other answers than one."""
    return len(fact.examples) >= settings.least and fact.others >= settings.others


def order_of(facts: Sequence[Fact], settings: Settings, report: Reporter) -> Order:
    """Sources of all clips and folds that no source is divided by.

    Raises:
        ConfigError: If there are fewer sources than folds.
    """
    clips = list(dict.fromkeys(one.clip for fact in facts for one in fact.examples))
    count = (os.cpu_count() or 1) if settings.workers is None else settings.workers
    alone = [Sample(clip.id, (clip,), (Turn("user", ""),)) for clip in clips]
    tied = tie(alone, by=settings.by, frames=settings.frames, workers=count, report=report)
    if len(set(tied.groups)) < settings.folds:
        raise ConfigError(
            "folds",
            f"all clips hang together in {len(set(tied.groups))} groups, for {settings.folds} folds",
            "add clips of other sources, or say in --by what a source is",
        )
    fold = dealt(tied.groups, settings.folds)
    return Order(
        dict(zip(clips, tied.groups, strict=True)), dict(zip(clips, fold, strict=True)), tied.sessions
    )


def fewer(fact: Fact, order: Order, most: int) -> Fact:
    """Not more examples than are used, of sources that are drawn."""
    if len(fact.examples) <= most:
        return fact
    drawn = sorted({order.source[one.clip] for one in fact.examples}, key=lambda one: seed_of("source", one))
    place = {source: at for at, source in enumerate(drawn)}
    kept = sorted(fact.examples, key=lambda one: place[order.source[one.clip]])[:most]
    return replace(fact, examples=tuple(kept))
