"""Pairs of yes-or-no questions, one about a fact and one about what is not there: both have to be right.

Source: VideoHallucer (Wang et al. 2024, arXiv 2406.16338). Its reading finds the words anywhere, so that a
model which repeats "yes or no" wins both; here that is no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vidapt.errors import ConfigError
from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Steps, Told, settled, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._read import yes_or_no
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

_HALVES = ("basic", "fact"), ("hallucination", "hallucinated")
_EXAMPLE = '"pair": "p1" in two rows, one answered "yes" and one "no"'


class Part:
    """Pairs of fact and hallucination."""

    version = 1
    judged = False
    purpose = "pairs of a fact and a hallucination, both of which must be answered rightly"
    measures: tuple[Measure, ...] = (
        Measure("both right"),
        Measure("facts right"),
        Measure("hallucinations denied"),
        Measure("said neither", better=-1),
        Measure("said yes", better=0),
    )

    class Config(PartConfig):
        """No options."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each pair: two rows with one `pair`, or one row with both questions."""
        return [*self._joined(rows), *self._whole(rows)]

    def _whole(self, rows: Sequence[Sample]) -> Iterator[Case]:
        for row in rows:
            halves = [columns.found(row, names) for names in _HALVES]
            if all(isinstance(half, Mapping) for half in halves):
                asked = [(str(half.get("question", "")), str(half.get("answer", ""))) for half in halves]
                yield _pair(row, row.id, asked)

    def _joined(self, rows: Sequence[Sample]) -> Iterator[Case]:
        pairs: dict[str, list[Sample]] = {}
        for row in rows:
            if not isinstance(columns.found(row, _HALVES[0]), Mapping):
                pairs.setdefault(str(columns.need(row, columns.PAIR, _EXAMPLE)), []).append(row)
        for name, members in pairs.items():
            if len(members) != 2 or members[0].media != members[1].media:
                raise ConfigError(
                    columns.where(members[0]),
                    f"the pair {name!r} is not of two rows about one clip, but of {len(members)}",
                    f"write {_EXAMPLE}",
                )
            asked = [(columns.asked(row), columns.answered(row)) for row in members]
            yield _pair(members[0], name, sorted(asked, key=lambda one: yes_or_no(one[1]) is not True))

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Read both answers."""
        del around
        said = [yes_or_no(text) for text in told.answers]
        fact, invented = said[0] is True, said[1] is False
        terms = {
            "both right": share(fact and invented),
            "facts right": share(fact),
            "hallucinations denied": share(invented),
            "said neither": share(said.count(None) / 2),
            "said yes": share(said.count(True) / 2),
        }
        return settled(Outcome(terms, {"said": said}))


def _pair(row: Sample, name: str, asked: Sequence[tuple[str, str]]) -> Case:
    """A case of two questions, the first of which is answered yes.

    Raises:
        ConfigError: If they are not answered yes and no.
    """
    if [yes_or_no(answer) for _, answer in asked] != [True, False]:
        answers = ", ".join(repr(answer) for _, answer in asked)
        raise ConfigError(
            columns.where(row),
            f"the pair {name!r} is answered {answers}",
            "a pair is of one question that is answered yes and one that is answered no",
        )
    posed = tuple(
        Posed(question, answer, ("yes",) if yes else ("no",))
        for (question, answer), yes in zip(asked, (True, False), strict=True)
    )
    return Case(
        name, row.media[0], posed, kind=str(row.facts.get("type", "")), source=columns.source(row), row=row.id
    )


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
