"""Clips scored portion by portion; what is done is in a file at once, and is never done again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from vidapt.appended import Appended
from vidapt.claims import said
from vidapt.digests import digest
from vidapt.errors import BrokenClip, BudgetError
from vidapt.evidence.ask import Answers, Asked, ClipAnswers
from vidapt.evidence.likelihoods import Likelihoods, Logs
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.models.reach import text_length
from vidapt.models.text import answer_places
from vidapt.nouns import Sample
from vidapt.progress import Reporter
from vidapt.training.data import responses

_VERSION = 4
"""Raised whenever the same clip, answers and model would be scored otherwise."""


@dataclass(frozen=True, slots=True)
class Score:
    """Of one claim, for each token of its values: log-probabilities, in nats.

    Attributes:
        seen: With the clip.
        blind: Without it.
        rival_seen: Of the likeliest other token there, with the clip.
        rival_blind: Of that token without it.
        other: The same with another clip, of which it is not said; None where there was none.
    """

    seen: tuple[float, ...]
    blind: tuple[float, ...]
    rival_seen: tuple[float, ...] = ()
    rival_blind: tuple[float, ...] = ()
    other: Score | None = None

    @property
    def tokens(self) -> int:
        """How many there are."""
        return len(self.seen)

    @property
    def evidence(self) -> float:
        """How much likelier the clip makes the claim."""
        return sum(self.seen) - sum(self.blind)

    @property
    def first(self) -> bool:
        """Whether the model, seeing the clip, would say the same."""
        return all(own > rival for own, rival in zip(self.seen, self.rival_seen, strict=True))

    def to_json(self) -> list[Any]:
        """As JSON holds it."""
        other = None if self.other is None else self.other.to_json()
        return [self.seen, self.blind, self.rival_seen, self.rival_blind, other]


@dataclass(frozen=True, slots=True)
class Scored:
    """A clip's rows.

    Attributes:
        claims: Scores of each row's claims.
        false: Of claims that were made false, with their types.
    """

    claims: tuple[tuple[Score, ...], ...]
    false: tuple[tuple[str, Score], ...] = ()


@dataclass(frozen=True, slots=True)
class Unusable:
    """A clip that cannot be scored, and why."""

    reason: str


class Scores:
    """Scores in a file, by what they depend on.

    Args:
        kept: The file.
    """

    def __init__(self, kept: Appended) -> None:
        self._kept = kept
        self._known: dict[str, Scored | Unusable] = {}
        for _, line in kept.lines():
            if isinstance(line, dict) and (found := _read(line)) is not None:
                self._known[str(line.get("key"))] = found

    def get(self, key: str) -> Scored | Unusable | None:
        """What is known under a key."""
        return self._known.get(key)

    def put(self, key: str, found: Scored | Unusable) -> None:
        """Write down what was found."""
        if isinstance(found, Unusable):
            line: dict[str, Any] = {"key": key, "broken": found.reason}
        else:
            claims = [[score.to_json() for score in row] for row in found.claims]
            line = {
                "key": key,
                "claims": claims,
                "false": [[kind, score.to_json()] for kind, score in found.false],
            }
        self._kept.write(line)
        self._known[key] = found


def _read(line: Mapping[str, Any]) -> Scored | Unusable | None:
    """A line; None if it is damaged, so that its clip is scored again."""
    try:
        if "broken" in line:
            return Unusable(str(line["broken"]))
        claims = tuple(tuple(_score_of(one) for one in row) for row in line["claims"])
        return Scored(claims, tuple((str(kind), _score_of(one)) for kind, one in line["false"]))
    except (KeyError, TypeError, ValueError):
        return None


def _score_of(line: Sequence[Any]) -> Score:
    *four, other = line
    seen, blind, rival_seen, rival_blind = (tuple(map(float, one)) for one in four)
    if len({len(seen), len(blind), len(rival_seen), len(rival_blind)}) != 1:
        raise ValueError("damaged")
    return Score(seen, blind, rival_seen, rival_blind, None if other is None else _score_of(other))


@dataclass(frozen=True)
class Scorer:
    """A model that scores clips.

    Attributes:
        engine: The model.
        scores: Where what is found is kept.
        contents: What is in the files of clips.
        others: Score every answer with another clip of its portion, too.
        batch: Clips of a portion.
        workers: Decoding processes; None is one per core.
    """

    engine: Engine
    scores: Scores
    contents: Mapping[Any, str]
    others: bool = False
    batch: int = 8
    workers: int | None = None

    def score(self, clips: Sequence[ClipAnswers], report: Reporter, task: str) -> list[Scored | Unusable]:
        """Score clips, in their order.

        Portions depend on the clips alone, so that the same bits are computed wherever a job goes on.
        """
        portions = [clips[start : start + self.batch] for start in range(0, len(clips), self.batch)]
        keys = [self._keys(portion) for portion in portions]
        todo = [at for at, some in enumerate(keys) if any(self.scores.get(key) is None for key in some)]
        done = len(clips) - sum(len(portions[at]) for at in todo)
        report(task, done, len(clips))
        beside = max((self._text(clip) for at in todo for clip in portions[at]), default=0)
        batches = ([one.clip for one in portions[at]] for at in todo)
        workers = os.cpu_count() or 1 if self.workers is None else self.workers
        watched = self.engine.watch_batches(batches, workers=workers, beside=beside, ahead=2 * self.batch)
        for at, seen in zip(todo, watched, strict=True):
            for key, one in zip(keys[at], self._portion(portions[at], seen), strict=True):
                self.scores.put(key, one)
            done += len(seen)
            report(task, done, len(clips))
        found = (self.scores.get(key) for some in keys for key in some)
        return [one for one in found if one is not None]

    def _keys(self, portion: Sequence[ClipAnswers]) -> list[str]:
        """What the score of each clip depends on."""
        keys = []
        for one in portion:
            rows = [
                [
                    [(turn.role, turn.text) for turn in row.sample.turns],
                    list(row.sample.references),
                    [(a.turn, a.span, a.type, a.values) for a in row.asked],
                    [(false.turns[claim.turn].text, claim.span, claim.values) for false, claim in row.false],
                ]
                for row in one.rows
            ]
            clip = [self.contents.get(one.clip.path), one.clip.start_s, one.clip.end_s, one.clip.rate]
            keys.append(digest([_VERSION, self.engine.fingerprint, clip, rows]))
        return [digest([key, keys]) for key in keys] if self.others else keys

    def _text(self, clip: ClipAnswers) -> int:
        likelihoods = Likelihoods(self.engine)
        return max((text_length(likelihoods.encoded(row.sample)) for row in clip.rows), default=0)

    def _portion(
        self, portion: Sequence[ClipAnswers], seen: Sequence[SeenClip | BrokenClip]
    ) -> list[Scored | Unusable]:
        found: list[Scored | Unusable] = [
            Unusable(one.found) if isinstance(one, BrokenClip) else Unusable("") for one in seen
        ]
        sound = [at for at, one in enumerate(seen) if isinstance(one, SeenClip)]
        clips = [portion[at] for at in sound]
        shown = [one for one in seen if isinstance(one, SeenClip)]
        if not sound:
            return found
        try:
            scored = self._sound(clips, shown)
        except BudgetError as error:
            if len(sound) > 1:  # one of them is too long: each by itself
                return self._each_alone(portion, seen)
            scored = [Unusable(f"{error.where} {error.found}")]
        for at, one in zip(sound, scored, strict=True):
            found[at] = one
        return found

    def _each_alone(
        self, portion: Sequence[ClipAnswers], seen: Sequence[SeenClip | BrokenClip]
    ) -> list[Scored | Unusable]:
        pairs = zip(portion, seen, strict=True)
        return [one for clip, shown in pairs for one in self._portion([clip], [shown])]

    def _sound(self, clips: Sequence[ClipAnswers], seen: Sequence[SeenClip]) -> Sequence[Scored | Unusable]:
        likelihoods = Likelihoods(self.engine)
        readings = [[one for row in clip.rows for one in _readings(row)] for clip in clips]
        shown = likelihoods.with_clips(seen, readings)
        others = self._others(likelihoods, clips, seen, readings) if self.others else {}
        asked = [
            *zip(readings, shown, strict=True),
            *((readings[at], one) for at, (one, _) in others.items()),
        ]
        unread = iter(
            likelihoods.without(
                [one for some, _ in asked for one in some], [one.ids for _, some in asked for one in some]
            )
        )
        blind = [[next(unread) for _ in some] for some, _ in asked]
        far = {
            at: (logs, dark, said_there)
            for (at, (logs, said_there)), dark in zip(others.items(), blind[len(clips) :], strict=True)
        }
        place = _placer(self.engine)
        each = zip(clips, readings, shown, blind, strict=False)
        return [_scored(clip, some, a, b, far.get(at), place) for at, (clip, some, a, b) in enumerate(each)]

    def _others(
        self,
        likelihoods: Likelihoods,
        clips: Sequence[ClipAnswers],
        seen: Sequence[SeenClip],
        readings: Sequence[Sequence[Sample]],
    ) -> dict[int, tuple[list[Logs], frozenset[tuple[str, ...]]]]:
        """The same with the next clip of another file in the place of each, and what is said of that one."""
        count = len(clips)
        turns = ([(at + by) % count for by in range(1, count)] for at in range(count))
        partner = [
            next((to for to in some if clips[to].clip.path != clips[at].clip.path), None)
            for at, some in enumerate(turns)
        ]
        paired = [(at, to) for at, to in enumerate(partner) if to is not None]
        scored = likelihoods.with_clips([seen[to] for _, to in paired], [readings[at] for at, _ in paired])
        return {at: (rows, said_of(clips[to])) for (at, to), rows in zip(paired, scored, strict=True)}


_Other = tuple[Sequence[Logs], Sequence[Logs], frozenset[tuple[str, ...]]]
"""With another clip: a clip's conversations, the same without any, and what is said of that clip."""

_Places = Callable[[Sample], Sequence[tuple[int, int, int]]]


def _placer(engine: Engine) -> _Places:
    return lambda sample: answer_places(sample, engine.model.blueprint.prompt, engine.tokenizer)


def _readings(row: Answers) -> list[Sample]:
    """A row with each of its answers, and its false copies."""
    return [*responses(row.sample), *(sample for sample, _ in row.false)]


def _scored(
    clip: ClipAnswers,
    samples: Sequence[Sample],
    shown: Sequence[Logs],
    blind: Sequence[Logs],
    other: _Other | None,
    place: _Places,
) -> Scored:
    """A clip's scores from those of its tokens."""
    claims: list[tuple[Score, ...]] = []
    false: list[tuple[str, Score]] = []
    first = 0
    for row in clip.rows:
        turns = len(row.sample.turns)
        answers = 1 + len(row.sample.references)
        places = [place(sample) for sample in samples[first : first + answers + len(row.false)]]
        scores = []
        for claim in row.asked:
            further = max(0, claim.turn - turns + 1)
            at, turn = first + further, min(claim.turn, turns - 1)
            score = _score(claim, turn, places[further], shown[at], blind[at])
            # What is said of the other clip, too, is no false claim about it.
            if other is not None and words_of(claim, row.sample) not in other[2]:
                far = _score(claim, turn, places[further], other[0][at], other[1][at])
                score = replace(score, other=far)
            scores.append(score)
        claims.append(tuple(scores))
        for number, (_, claim) in enumerate(row.false, answers):
            at = first + number
            score = _score(claim, claim.turn, places[number], shown[at], blind[at])
            if score.tokens:
                false.append((claim.type, score))
        first += answers + len(row.false)
    return Scored(tuple(claims), tuple(false))


def _score(
    claim: Asked,
    turn: int,
    places: Sequence[tuple[int, int, int]],
    shown: Logs,
    blind: Logs,
) -> Score:
    chosen = [
        at
        for at, (of, start, end) in enumerate(places)
        if of == turn and any(start < b and a < end for a, b in claim.values)
    ]

    def of(one: Tensor) -> tuple[float, ...]:
        return tuple(round(value, 6) for value in one[chosen].tolist())

    return Score(of(shown.own), of(blind.own), of(shown.rival), of(blind.rival))


def words_of(claim: Asked, sample: Sample) -> tuple[str, ...]:
    """A claim's type and values, in small letters."""
    text = said(sample, claim.turn) or ""
    return (claim.type, *(text[start:end].lower() for start, end in claim.values))


def said_of(clip: ClipAnswers) -> frozenset[tuple[str, ...]]:
    """What is claimed of a clip."""
    return frozenset(words_of(claim, row.sample) for row in clip.rows for claim in row.asked)


def clips_of(rows: Sequence[Answers]) -> Iterator[ClipAnswers]:
    """Rows by their clips, in the order in which these first appear."""
    members: dict[Any, list[Answers]] = {}
    for row in rows:
        (clip,) = row.sample.media
        members.setdefault((clip.path, clip.start_s, clip.end_s), []).append(row)
    for some in members.values():
        yield ClipAnswers(some[0].sample.media[0], tuple(some))
