"""Things that captions mention although they are not there, by a closed vocabulary with synonyms.

Source: CHAIR (Rohrbach et al. 2018, "Object hallucination in image captioning", arXiv 1809.02156). Its two
numbers fall when captions get shorter, so that they stand beside recall and length; the first two here do
not reward silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from vidapt.errors import ConfigError
from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Steps, Told, settled, share
from vidapt.metrics.match import normalise
from vidapt.metrics.protocols import _columns as columns
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

_EXAMPLE = '"objects": ["red ball", "cue"]'
_Names = Mapping[str, str]
"""By every word or phrase the thing that it means."""


class Part:
    """Mentions of what is not there."""

    version = 1
    judged = False
    purpose = "things that captions mention although they are not there"
    measures: tuple[Measure, ...] = (
        Measure("false mentions", better=-1),
        Measure("captions with one", better=-1),
        Measure("recall"),
        Measure("CHAIRi as published", better=-1, published=True),
        Measure("CHAIRs as published", better=-1, published=True),
    )

    class Config(PartConfig):
        """Options.

        Attributes:
            vocabulary: Things and their further names; empty takes every object of the labels by its own.
            prompt: What models are asked; None asks each row's own question.
        """

        vocabulary: dict[str, tuple[str, ...]] = Field({})
        prompt: str | None = None

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each row that lists what is there."""
        listed = [columns.texts(row, columns.OBJECTS, _EXAMPLE) for row in rows]
        own = {name for names in listed for name in names}
        given = {**{name: () for name in own if not self.cfg.vocabulary}, **self.cfg.vocabulary}
        names = _names(given)
        found = []
        for row, objects in zip(rows, listed, strict=True):
            there = sorted({names[known] for one in objects if (known := _singular(normalise(one))) in names})
            if not there:
                raise ConfigError(
                    columns.where(row),
                    f"none of its objects ({', '.join(objects)}) is in the vocabulary",
                    "add it to `vocabulary`, with its synonyms",
                )
            posed = Posed(self.cfg.prompt or columns.asked(row), row.answer, free=True)
            truth = {"there": there, "names": dict(names)}
            found.append(Case(row.id, row.media[0], (posed,), truth, source=columns.source(row), row=row.id))
        return found

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Find mentions; a caption that mentions nothing has nothing right."""
        del around
        there = set(told.case.truth["there"])
        said = mentioned(told.answer, told.case.truth["names"])
        false = [name for name in said if name not in there]
        share_false = len(false) / len(said) if said else 1.0
        terms = {
            "false mentions": share(share_false),
            "captions with one": share(bool(false) or not said),
            "recall": share(len(there & set(said)) / len(there)),
            "CHAIRi as published": (float(len(false)), float(len(said))),
            "CHAIRs as published": share(bool(false)),
        }
        return settled(Outcome(terms, {"mentioned": said, "false": false}))


def mentioned(text: str, names: _Names) -> list[str]:
    """Things that a text mentions, each mention once, the longest name first."""
    words = [_singular(word) for word in re.findall(r"\w+(?:['’-]\w+)*", normalise(text))]
    longest = max((len(name.split()) for name in names), default=0)
    found, at = [], 0
    while at < len(words):
        for width in range(longest, 0, -1):
            name = names.get(" ".join(words[at : at + width]))
            if name is not None and at + width <= len(words):
                found.append(name)
                at += width
                break
        else:
            at += 1
    return found


def _names(vocabulary: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Every name of every thing.

    Raises:
        ConfigError: If two things have one name.
    """
    names: dict[str, str] = {}
    for thing, others in vocabulary.items():
        for name in (thing, *others):
            known = _singular(normalise(name))
            if names.get(known, thing) != thing:
                raise ConfigError(
                    "vocabulary",
                    f"{name!r} is a name of {names[known]!r} and of {thing!r}",
                    "keep one of them",
                )
            names[known] = thing
    return names


def _singular(phrase: str) -> str:
    """A phrase whose words have lost the s of the plural."""
    return " ".join(_one(word) for word in phrase.split())


def _one(word: str) -> str:
    if len(word) > 4 and word.endswith(("ses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    return (
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
    )


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
