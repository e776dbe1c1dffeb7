"""Clips scored portion by portion; what is done is in a file at once, and is never done again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from vidapt.claims import MOST, said
from vidapt.digests import digest
from vidapt.errors import BrokenClip, BudgetError, FormatError
from vidapt.evidence.ask import Answers, Asked, ClipAnswers
from vidapt.evidence.likelihoods import Likelihoods, Logs
from vidapt.evidence.scores import Score, Scored, Scores, Unusable
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.models.reach import REMEDY, reach_of, sequence
from vidapt.models.text import answer_places
from vidapt.nouns import Sample
from vidapt.progress import Reporter
from vidapt.training.data import responses

_VERSION = 5
"""Raised whenever the same clip, answers and model would be scored otherwise."""


_OPEN = Unusable("")
"""Stands for a clip that is still to be scored."""


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
        batches = ([one.clip for one in portions[at]] for at in todo)
        workers = os.cpu_count() or 1 if self.workers is None else self.workers
        watched = self.engine.watch_batches(batches, workers=workers, ahead=2 * self.batch)
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
            model = [self.engine.fingerprint, *([] if self.engine.side is None else [self.engine.side])]
            keys.append(digest([_VERSION, *model, clip, rows]))
        return [digest([key, keys]) for key in keys] if self.others else keys

    def _portion(
        self, portion: Sequence[ClipAnswers], seen: Sequence[SeenClip | BrokenClip]
    ) -> list[Scored | Unusable]:
        found: list[Scored | Unusable] = [
            Unusable(one.found) if isinstance(one, BrokenClip) else _OPEN for one in seen
        ]
        unread = [
            self._unread(clip, one) if isinstance(one, SeenClip) else {}
            for clip, one in zip(portion, seen, strict=True)
        ]
        for at, reasons in enumerate(unread):
            if reasons and len(reasons) == len(portion[at].rows):
                found[at] = Unusable(next(iter(reasons.values())))
        sound = [at for at, one in enumerate(found) if one == _OPEN]
        clips = [_read(portion[at], unread[at]) for at in sound]
        shown = [one for at in sound if isinstance(one := seen[at], SeenClip)]
        if not sound:
            return found
        try:
            scored = self._sound(clips, shown)
        except (BudgetError, FormatError) as error:
            if len(sound) > 1:  # one of them cannot be read: each by itself
                return self._each_alone(portion, seen)
            scored = [Unusable(f"{error.where} {error.found}")]
        for at, score in zip(sound, scored, strict=True):
            found[at] = _with_unread(score, portion[at], unread[at])
        return found

    def _unread(self, clip: ClipAnswers, seen: SeenClip) -> dict[int, str]:
        """Rows that cannot be read behind their clip, by their places, each with what is wrong with it."""
        likelihoods, model = Likelihoods(self.engine), self.engine.model
        reach, readings = reach_of(model), self.engine.readings([seen])
        reasons: dict[int, str] = {}
        for at, row in enumerate(clip.rows):
            if len(row.asked) > MOST:
                reasons[at] = f"has {len(row.asked):,} claims, more than {MOST:,}; divide the text"
                continue
            try:
                for sample in _readings(row):
                    one = likelihoods.encoded(sample)
                    length = sequence(model.positions, one.prefix, readings, len(one.ids))
                    if much := reach.excess(*length, packed=True):
                        reasons[at] = f"with its clip, it would be {much}; {REMEDY}"
            except FormatError as error:
                reasons[at] = f"{error.where} {error.found}"
        return reasons

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


def _read(clip: ClipAnswers, unread: Mapping[int, str]) -> ClipAnswers:
    """A clip with the rows that can be read."""
    return replace(clip, rows=tuple(row for at, row in enumerate(clip.rows) if at not in unread))


def _with_unread(one: Scored | Unusable, clip: ClipAnswers, unread: Mapping[int, str]) -> Scored | Unusable:
    """Scores of all rows of a clip, those of rows that could not be read empty."""
    if isinstance(one, Unusable) or not unread:
        return one
    known = iter(one.claims)
    claims = (
        tuple(Score((), ()) for _ in row.asked) if at in unread else next(known)
        for at, row in enumerate(clip.rows)
    )
    return replace(one, claims=tuple(claims), unread=unread)


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
