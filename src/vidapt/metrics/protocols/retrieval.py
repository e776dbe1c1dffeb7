"""Which of all texts of a set is a clip's, and which of all clips is a text's.

Source: recall at k as text-video retrieval reports it (MSR-VTT, Xu et al. 2016); with several right texts
the best one counts. See `metrics.retrieval`, where ties are not decided by the order of a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from vidapt.errors import ConfigError
from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Steps, Told, settled, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._statements import TRUE
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

AT = (1, 5, 10)
_TO_TEXT, _TO_CLIP = "text from clip, recall@{}", "clip from text, recall@{}"


class Part:
    """Retrieval both ways."""

    version = 1
    judged = False
    purpose = "which text is a clip's, and which clip is a text's"
    measures: tuple[Measure, ...] = tuple(
        Measure(name.format(k)) for name in (_TO_TEXT, _TO_CLIP) for k in AT
    )

    class Config(PartConfig):
        """Options.

        Attributes:
            most: Most texts of a set; each clip is scored with all of them.
        """

        most: int = Field(2000, ge=2, le=100_000)

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each clip, with all texts of the set."""
        told: dict[str, list[str]] = {}
        first: dict[str, Sample] = {}
        for row in rows:
            given = columns.found(row, TRUE)
            texts = [columns.answered(row)] if given is None else [given] if isinstance(given, str) else given
            name = row.media[0].id
            first.setdefault(name, row)
            told.setdefault(name, []).extend(
                columns.listed(row, TRUE, texts, '"caption": "the red ball falls"')
            )
        every = tuple(dict.fromkeys(text for texts in told.values() for text in texts))
        if len(every) > self.cfg.most:
            raise ConfigError(
                "retrieval",
                f"there are {len(every)} texts",
                f"give fewer, or raise `most` above {self.cfg.most}",
            )
        found = []
        for name, row in first.items():
            own = set(told[name])
            right = [place for place, text in enumerate(every) if text in own]
            posed = Posed("", options=every, by="statement")
            found.append(
                Case(name, row.media[0], (posed,), {"right": right}, source=columns.source(row), row=row.id)
            )
        return found

    def around(self, told: Sequence[Told]) -> Mapping[int, tuple[float, ...]]:
        """By text, its scores with the clips that it is not true of: one that is true of several fits all."""
        known = [one for one in told if one.scores and one.scores[0]]
        if not known:
            return {}
        own = [set(one.case.truth["right"]) for one in known]
        return {
            place: tuple(score for score, right in zip(column, own, strict=True) if place not in right)
            for place, column in enumerate(zip(*(one.scores[0] for one in known), strict=True))
        }

    def steps(self, told: Told, around: Mapping[int, tuple[float, ...]]) -> Steps:
        """Where the right ones stand."""
        right = list(told.case.truth["right"])
        row = told.scores[0] if told.scores else ()
        if len(row) != len(told.case.posed[0].options):
            return settled(Outcome({measure.name: share(0) for measure in self.measures}))
        best = max(row[place] for place in right)
        others = [score for place, score in enumerate(row) if place not in set(right)]
        terms = {_TO_TEXT.format(k): share(_chance(best, others, k)) for k in AT}
        for k in AT:
            hits = [_chance(row[place], around[place], k) for place in right]
            terms[_TO_CLIP.format(k)] = share(sum(hits) / len(hits))
        return settled(Outcome(terms))


def _chance(score: float, others: Sequence[float], k: int) -> float:
    """Chance to stand among the first k when ties are shuffled."""
    above = sum(other > score for other in others)
    tied = sum(other == score for other in others)
    return min(1.0, max(0.0, (k - above) / (tied + 1)))


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
