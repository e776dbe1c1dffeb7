"""Ways of getting several captions, compared: numbers of difference count only where factuality is equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidapt.curation.ties import sessions
from vidapt.measure.diversity.told import Told
from vidapt.metrics.diversity import Floats, Judged, Spread, Together, spread, together
from vidapt.metrics.intervals import (
    Interval,
    detectable,
    mean_interval,
    ratio_difference_interval,
    ratio_interval,
    unanimous,
)
from vidapt.metrics.text import words
from vidapt.nouns import Clip

Judge = Callable[[Clip, str], tuple[Judged, int]]
"""What a text claims about a clip, and how many facts about it are worth telling."""

Embed = Callable[[Sequence[str]], Floats]
Terms = tuple[list[float], list[float]]
"""Numerators and denominators of a rate, by source."""

FACTS = (
    "captions",
    "k",
    "coverage@k",
    "contradicted",
    "less the first",
    "could tell",
    "contradicted@k",
    "unread",
    "said again",
    "so",
)
TEXTS = ("captions", "distinct-1", "distinct-2", "self-BLEU", "1 - cos", "Vendi", "words", "so")
FIRST, COMPARABLE, UNKNOWN = "the first", "comparable", "facts unknown"
MORE, LESS = "not comparable: makes up more", "not comparable: makes up less"
OPEN, PLAIN = "not comparable: more is unread", "not comparable: less is unread"


@dataclass(frozen=True)
class Way:
    """Several captions of each clip, measured.

    Attributes:
        name: Of the file.
        k: Captions of a clip.
        clips: How many.
        coverage: Facts that at least one caption tells, of those worth telling; None where nobody knows.
        contradicted: False claims of all claims, each caption's counted by themselves.
        contradicted_at_k: False ones of the different claims of a clip.
        unread: Statements that nobody could read or judge, of all statements. They are in no other rate, so
            that texts which fall apart seem to make up little.
        repeated: Claims that another caption of the clip makes, too.
        distinct_1: See `metrics.diversity.Spread`; means over clips.
        distinct_2: See there.
        self_bleu: See there; None of single captions.
        distance: See there.
        vendi: See there.
        words: Length of a caption.
        total: Claims of all clips, added up; None where nobody knows.
        against: `contradicted` less the first way's, on the same clips.
        unread_against: `unread` less the first way's.
        gain: `coverage` less the first way's.
        first: Whether this is the first way.
    """

    name: str
    k: int
    clips: int
    coverage: Interval | None
    contradicted: Interval | None
    contradicted_at_k: Interval | None
    unread: Interval | None
    repeated: Interval | None
    distinct_1: Interval
    distinct_2: Interval
    self_bleu: Interval | None
    distance: Interval | None
    vendi: Interval | None
    words: Interval
    total: Together | None
    against: Interval | None
    unread_against: Interval | None
    gain: Interval | None
    first: bool

    @property
    def says(self) -> str:
        """What may be said of it beside the first."""
        if self.first:
            return FIRST
        if self.against is None or self.unread_against is None:
            return UNKNOWN
        for gap, more, less in ((self.against, MORE, LESS), (self.unread_against, OPEN, PLAIN)):
            if gap.excludes_zero():
                return more if gap.value > 0 else less
        return COMPARABLE

    def facts(self) -> list[str]:
        """Cells under `FACTS`."""
        against = None if self.first else self.against
        return [
            self.name,
            str(self.k),
            _percent(self.coverage),
            _percent(self.contradicted),
            "-" if against is None else f"{100 * against.value:+.1f}",
            "-" if against is None else f"{100 * detectable(against):.1f}",
            _percent(self.contradicted_at_k),
            _percent(self.unread),
            _percent(self.repeated),
            self.says,
        ]

    def texts(self) -> list[str]:
        """Cells under `TEXTS`."""
        plain = (self.distinct_1, self.distinct_2, self.self_bleu, self.distance, self.vendi)
        shown = ["-" if one is None else f"{one.value:.2f}" for one in plain]
        return [self.name, *shown, f"{self.words.value:.1f}", self.says]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"says": self.says}


@dataclass(frozen=True)
class _Clip:
    spread: Spread
    words: float
    together: Together | None


def compare_ways(
    told: Sequence[Told],
    judge: Judge | None,
    *,
    k: int,
    by: str | None = None,
    embed: Embed | None = None,
) -> list[Way]:
    """Measure each way, and hold its factuality against the first one's.

    Args:
        told: Of the same clips in the same order.
        judge: Knows what is true; None leaves facts unknown.
        k: Captions of each clip that are looked at, the first ones; see `told.most`.
        by: What clips are taken from; see `curation.ties.sessions`.
        embed: Makes [k, D] vectors of texts; None counts words.

    Raises:
        ConfigError: If `by` makes no sense.
    """
    sources = sessions(list(told[0].texts), by)[0]
    every = [
        {clip: _measured(clip, texts[:k], judge, embed) for clip, texts in one.texts.items()} for one in told
    ]
    return [
        _way(one.name, min(k, one.k), clips, sources, None if at == 0 else every[0])
        for at, (one, clips) in enumerate(zip(told, every, strict=True))
    ]


def _measured(clip: Clip, texts: Sequence[str], judge: Judge | None, embed: Embed | None) -> _Clip:
    length = sum(len(words(text)) for text in texts) / len(texts)
    found = spread(texts, None if embed is None else embed(texts))
    if judge is None:
        return _Clip(found, length, None)
    judged = [judge(clip, text) for text in texts]
    return _Clip(found, length, together([one for one, _ in judged], judged[0][1]))


def _way(
    name: str,
    k: int,
    clips: Mapping[Clip, _Clip],
    sources: Mapping[Clip, str],
    first: Mapping[Clip, _Clip] | None,
) -> Way:
    known = [one.together for one in clips.values() if one.together is not None]

    def rate(terms: Callable[[Together], tuple[int, int]]) -> Interval | None:
        top, bottom = _terms(clips, sources, terms)
        return unanimous(ratio_interval(top, bottom), len(top)) if known and sum(bottom) else None

    def change(terms: Callable[[Together], tuple[int, int]]) -> Interval | None:
        old, new = _terms(first or clips, sources, terms), _terms(clips, sources, terms)
        return ratio_difference_interval(old, new) if known and sum(old[1]) and sum(new[1]) else None

    def mean(read: Callable[[_Clip], float | None]) -> Interval | None:
        values = {clip: value for clip, one in clips.items() if (value := read(one)) is not None}
        return mean_interval(list(values.values()), [sources[clip] for clip in values]) if values else None

    distinct_1, distinct_2 = mean(lambda one: one.spread.distinct_1), mean(lambda one: one.spread.distinct_2)
    length = mean(lambda one: one.words)
    assert distinct_1 is not None
    assert distinct_2 is not None
    assert length is not None
    return Way(
        name=name,
        k=k,
        clips=len(clips),
        coverage=rate(lambda one: (one.covered, one.facts)),
        contradicted=rate(lambda one: (one.contradicted, one.claims)),
        contradicted_at_k=rate(lambda one: (one.different_false, one.different)),
        unread=rate(_unread),
        repeated=rate(lambda one: (one.claims - one.different, one.claims)),
        distinct_1=distinct_1,
        distinct_2=distinct_2,
        self_bleu=mean(lambda one: one.spread.self_bleu),
        distance=mean(lambda one: one.spread.distance),
        vendi=mean(lambda one: one.spread.vendi),
        words=length,
        total=sum(known, start=Together()) if known else None,
        against=None if first is None else change(lambda one: (one.contradicted, one.claims)),
        unread_against=None if first is None else change(_unread),
        gain=None if first is None else change(lambda one: (one.covered, one.facts)),
        first=first is None,
    )


def _unread(one: Together) -> tuple[int, int]:
    return one.unread, one.claims + one.unread


def _terms(
    clips: Mapping[Clip, _Clip], sources: Mapping[Clip, str], terms: Callable[[Together], tuple[int, int]]
) -> Terms:
    tops: dict[str, float] = dict.fromkeys(sources.values(), 0.0)
    bottoms = dict(tops)
    for clip, one in clips.items():
        if one.together is not None:
            top, bottom = terms(one.together)
            tops[sources[clip]] += top
            bottoms[sources[clip]] += bottom
    return list(tops.values()), list(bottoms.values())


def _percent(share: Interval | None) -> str:
    return "-" if share is None else f"{100 * share.value:.1f}"
