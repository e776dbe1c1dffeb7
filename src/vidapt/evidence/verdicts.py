"""From evidence to verdicts: thresholds, fitted to what false claims look like if that is wanted."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vidapt.claims import Claim, Verdict
from vidapt.errors import ConfigError
from vidapt.evidence.ask import ClipAnswers
from vidapt.evidence.scores import Score, Scored
from vidapt.evidence.settings import Settings

_FLOOR = 0.1
"""Lowest threshold that is fitted: what the clip makes a tenth likelier is hardly borne out by it."""

_LITTLE = 0.2
"""What can be gained, in nats, below which nothing is said: the claim has a probability of 82 % as it is."""

_STEP = 1e-6
"""Scores are kept to so many digits."""


@dataclass(frozen=True)
class Thresholds:
    """From which evidence on claims are supported.

    Attributes:
        overall: Of types without one of their own.
        types: Of types with enough false claims.
        null: How many false claims they rest on.
    """

    overall: float
    types: Mapping[str, float] = field(default_factory=dict)
    null: int = 0

    def of(self, kind: str) -> float:
        """That of a type."""
        return self.types.get(kind, self.overall)


def thresholds(scored: Iterable[tuple[ClipAnswers, Scored]], settings: Settings) -> Thresholds:
    """Thresholds as settings ask for them.

    Of claims that are not true of their clip a share of `false_alarms` is above its type's threshold.

    Raises:
        ConfigError: If there are too few false claims to tell.
    """
    if settings.calibrate is None:
        return Thresholds(settings.supported)
    null: dict[str, list[float]] = defaultdict(list)
    for clip, one in scored:
        for kind, value in _null(clip, one, settings):
            null[kind].append(value)
    every = [value for values in null.values() for value in values]
    if len(every) < settings.least:
        raise ConfigError(
            "calibrate",
            f"there are {len(every)} false claims, and {settings.least} are needed",
            "take the other kind of false claims, more labels, or thresholds of your own",
        )
    types = {kind: _quantile(v, settings) for kind, v in null.items() if len(v) >= settings.least}
    return Thresholds(_quantile(every, settings), dict(sorted(types.items())), len(every))


def _null(clip: ClipAnswers, scored: Scored, settings: Settings) -> Iterable[tuple[str, float]]:
    """Evidence of false claims with their types; of those that are contradicted anyway, less than any."""
    if settings.calibrate == "falsified":
        false: Iterable[tuple[str, Score]] = scored.false
    else:
        false = (
            (asked.type, score.other)
            for row, scores in zip(clip.rows, scored.claims, strict=True)
            for asked, score in zip(row.asked, scores, strict=True)
            if score.other is not None and score.other.tokens
        )
    return ((kind, -math.inf if denied(one, settings) else one.evidence) for kind, one in false)


def _quantile(values: Sequence[float], settings: Settings) -> float:
    """The lowest threshold that no more than the share of false alarms reaches."""
    most = math.floor(settings.false_alarms * len(values))
    beyond = sorted(values)[len(values) - most - 1]
    return round(max(_FLOOR, beyond + _STEP), 6)


def verdict(score: Score, kind: str, limits: Thresholds, settings: Settings) -> Verdict:
    """What is said of a claim.

    What is told with a probability of p without the clip can gain no more than -log p by it. Where that is
    little, a claim is not checked. Where it is what the model would say itself, seeing the clip, half of what
    it can gain is enough, unless a threshold was fitted to its type.

    However likely the clip makes a claim, it is contradicted where the clip speaks for another word: a false
    word that is next to impossible without the clip is often a little less so with it.

    Args:
        score: Of its values.
        kind: Its type.
        limits: Thresholds.
        settings: All else.
    """
    if not score.tokens:
        return "unchecked"
    if score.evidence <= settings.contradicted or denied(score, settings):
        return "contradicted"
    least, most = limits.of(kind), -sum(score.blind)
    if score.first and kind not in limits.types:
        least = min(least, most / 2)
    if most < max(least, _LITTLE):
        return "unchecked"
    return "supported" if score.evidence >= least else "unseen"


def unseen_types(claims: Iterable[Claim], settings: Settings) -> frozenset[str]:
    """Types that the model does not see: of their claims that could be checked, most are unseen.

    What is mostly true of such a type is told without looking, and would be all that is learned of it if only
    the rest were taken for unseen.
    """
    counts: dict[str, Counter[Verdict]] = defaultdict(Counter)
    for claim in claims:
        counts[claim.type][claim.verdict] += 1
    return frozenset(
        kind
        for kind, one in counts.items()
        if one["supported"] + one["unseen"] >= settings.telling and one["unseen"] > one["supported"]
    )


def denied(score: Score, settings: Settings) -> bool:
    """Whether the clip speaks for another word in the place of one of the values.

    That word is `rival` times likelier with the clip, and the clip bears it out.
    """
    return any(
        rival - seen >= math.log(settings.rival) and rival - before >= settings.supported
        for seen, rival, before in zip(score.seen, score.rival_seen, score.rival_blind, strict=True)
    )
