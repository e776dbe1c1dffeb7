"""Answers that are guessed without seeing the clip: they teach habits, so that only a share of them is kept.

With a model, an answer is guessed if its tokens are likely when the model reads the question alone; without
one, if it is what all other questions of the same words are mostly answered. Guessed is not wrong, which is
why these labels are capped and not all set aside. Source: question-only baselines (Goyal et al. 2017, "Making
the V in VQA Matter", arXiv 1612.00837).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from pydantic import Field, model_validator

from vidapt.cleaning.checks._cap import beyond
from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop
from vidapt.curation.texts import guesses
from vidapt.metrics.question_types import question_types
from vidapt.parts import PartConfig


class Part:
    """Caps what is answered without looking, type by type."""

    version = 2

    class Config(PartConfig):
        """Options.

        Attributes:
            above: Share of a type's labels that are guessed, from which on they are capped.
            to: The share that they are capped to.
            least: Labels of a type from which on it is looked at, and guessed ones that are kept in any case.
            likely: With a model: geometric mean of the probabilities of an answer's tokens, from which on it
                is guessed.
        """

        above: float = Field(0.75, gt=0, le=1)
        to: float = Field(0.6, gt=0, lt=1)
        least: int = Field(20, ge=1, le=1_000_000)
        likely: float = Field(0.5, gt=0, lt=1)

        @model_validator(mode="after")
        def _ordered(self) -> Part.Config:
            if self.to > self.above:
                raise ValueError(f"`to` is {self.to:g}, more than `above`, which is {self.above:g}")
            return self

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        self.cfg, self._score = cfg, given.blind

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge labels by how many of their type are guessed; which are kept depends on their ids."""
        singles = [label.single for label in labels]
        types = question_types(singles)
        members: dict[str, list[int]] = defaultdict(list)
        for place, single in enumerate(singles):
            members[types.of(single)].append(place)
        guessed = self._by_model(labels) if self._score is not None else guesses(singles)
        reasons: dict[int, str] = {}
        for kind, places in members.items():
            right = [place for place in places if guessed[place]]
            if len(places) >= self.cfg.least and len(right) >= self.cfg.above * len(places):
                told = f"{len(right)} of {len(places)} labels of {kind!r} are guessed without looking"
                kept = self._kept(len(places) - len(right))
                reasons |= dict.fromkeys(beyond(right, labels, kept), f"{told}, and {kept} of them are kept")
        whole = _whole_rows(labels, reasons)
        for place, label in enumerate(labels):
            yield drop(reasons[place]) if place in reasons and label.sample.id in whole else KEEP

    def _kept(self, others: int) -> int:
        """Guessed labels that are kept beside so many others."""
        return max(self.cfg.least, math.floor(others * self.cfg.to / (1 - self.cfg.to) + 1e-9))

    def _by_model(self, labels: Sequence[Label]) -> list[bool]:
        assert self._score is not None
        asked = [(label.question, label.text) for label in labels]
        return [score >= math.log(self.cfg.likely) for score in self._score(asked)]


def _whole_rows(labels: Sequence[Label], places: Collection[int]) -> set[str]:
    """Ids of rows all of whose questions are among some labels.

    A conversation goes as a whole, and what is guessed is not wrong: it would take along what has to be seen.
    """
    asked: dict[str, set[int]] = defaultdict(set)
    found: dict[str, set[int]] = defaultdict(set)
    for place, label in enumerate(labels):
        turn = min(label.place, len(label.sample.turns) - 1)  # further answers are to the last question
        asked[label.sample.id].add(turn)
        if place in places:
            found[label.sample.id].add(turn)
    return {row for row, turns in found.items() if turns == asked[row]}


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
