"""Is something there, yes or no; what is not there is chosen at random, by frequency, or by company.

Source: POPE (Li et al. 2023, arXiv 2305.10355). Questions are built from labels that list what is in each
clip, or taken as they are. Labels that leave things out make right answers wrong (RePOPE, arXiv
2504.15707): check them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from vidapt.digests import seed_of
from vidapt.errors import ConfigError
from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Steps, Told, settled, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._read import yes_or_no
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

WAYS = ("random", "popular", "adversarial")
"""How things are chosen that are not there: any; the most frequent of the set; those that are most often
together with what is there."""

_EXAMPLE = '"objects": ["red ball", "cue"]'
_SETTING = ("category", "setting", "type")


class Part:
    """Polling for objects."""

    version = 1
    judged = False
    purpose = "whether a model says of things that they are there which are not"
    measures: tuple[Measure, ...] = (
        Measure("accuracy"),
        Measure("F1"),
        Measure("precision"),
        Measure("recall"),
        Measure("said yes", better=0),
        Measure("said neither", better=-1),
    )

    class Config(PartConfig):
        """Options.

        Attributes:
            each: Things that are there, and as many that are not, that are asked of each clip.
            question: What is asked; `{object}` is the thing with its article.
            seed: Of what is chosen.
        """

        each: int = Field(3, ge=1, le=100)
        question: str = "Is there {object} in the video? Answer yes or no."
        seed: int = Field(0, ge=0, lt=2**31)

        @field_validator("question")
        @classmethod
        def _asks_of_it(cls, question: str) -> str:
            if question.count("{object}") != 1 or "{" in question.replace("{object}", ""):
                raise ValueError("`{object}` has to stand in it once, and no other brace")
            return question

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each question; rows that list objects are asked of clip by clip, in all three ways."""
        ready = [row for row in rows if columns.found(row, columns.OBJECTS) is None]
        there = {
            row.id: [one.lower() for one in columns.texts(row, columns.OBJECTS, _EXAMPLE)]
            for row in rows
            if columns.found(row, columns.OBJECTS) is not None
        }
        built = [row for row in rows if row.id in there]
        return [*map(self._ready, ready), *self._built(built, there)]

    def _ready(self, row: Sample) -> Case:
        wanted = yes_or_no(columns.answered(row))
        if wanted is None:
            raise ConfigError(
                columns.where(row),
                f"is answered {row.answer!r}, and lists no `objects`",
                f"answer yes or no, or write {_EXAMPLE}",
            )
        return _case(row, row.id, columns.asked(row), wanted, str(columns.found(row, _SETTING) or ""))

    def _built(self, rows: Sequence[Sample], there: Mapping[str, list[str]]) -> Iterator[Case]:
        often = Counter(name for names in there.values() for name in set(names))
        beside: dict[str, Counter[str]] = {name: Counter() for name in often}
        for names in there.values():
            for name in set(names):
                beside[name].update(set(names) - {name})
        if rows and len(often) < 2:
            raise ConfigError(
                columns.where(rows[0]),
                "all rows list one object",
                "list what is in each clip, of several kinds",
            )
        for row in rows:
            own = sorted(set(there[row.id]))
            rng = random.Random(seed_of(self.cfg.seed, row.id))
            others = sorted(set(often) - set(own))
            count = min(self.cfg.each, len(own), len(others))
            shown = rng.sample(own, count)
            company: Counter[str] = Counter()
            for name in own:
                company.update({one: n for one, n in beside[name].items() if one not in own})
            absent = {
                "random": rng.sample(others, count),
                "popular": sorted(others, key=lambda one: (-often[one], one))[:count],
                "adversarial": sorted(others, key=lambda one: (-company[one], -often[one], one))[:count],
            }
            for way in WAYS:
                for number, (name, wanted) in enumerate(
                    [*((one, True) for one in shown), *((one, False) for one in absent[way])]
                ):
                    question = self.cfg.question.format(object=_with_article(name))
                    yield _case(row, f"{row.id}/{way}/{number}", question, wanted, way)

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Read yes or no; who says neither is wrong, whatever the truth."""
        del around
        said, wanted = yes_or_no(told.answer), bool(told.case.truth["there"])
        claimed = not wanted if said is None else said
        hit, invented, missed = claimed and wanted, claimed and not wanted, wanted and not claimed
        terms = {
            "accuracy": share(claimed == wanted),
            "F1": (2.0 * hit, float(2 * hit + invented + missed)),
            "precision": (float(hit), float(hit + invented)),
            "recall": (float(hit), float(wanted)),
            "said yes": share(said is True),
            "said neither": share(said is None),
        }
        return settled(Outcome(terms, {"said": said}))


def _case(row: Sample, name: str, question: str, wanted: bool, kind: str) -> Case:
    answer = "yes" if wanted else "no"
    return Case(
        name,
        row.media[0],
        (Posed(question, answer, (answer,)),),
        {"there": wanted},
        kind,
        columns.source(row),
        row.id,
    )


def _with_article(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
