"""Texts that are nearly one text: of each so many are kept, since what is said often is no mistake.

Source: MinHash (Broder 1997, "On the resemblance and containment of documents"), by `metrics/near_texts`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from pydantic import Field

from vidapt.cleaning.checks._cap import beyond
from vidapt.cleaning.checks._same import asked_alike
from vidapt.cleaning.checks._words import pieces, shown
from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop
from vidapt.metrics.match import normalise
from vidapt.metrics.near_texts import Words, templates
from vidapt.parts import PartConfig


class Part:
    """Sets texts aside of which there are enough."""

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            alike: Share of words that two texts have in the same order, from which on they are one.
            most: Labels of one text that are kept.
            least: Words of the shortest text that counts; short answers are equal of necessity.
            twice: Keep rows that answer one question about one clip in the same words; else one of them is.
        """

        alike: float = Field(0.85, gt=0, le=1)
        most: int = Field(50, ge=1, le=10_000_000)
        least: int = Field(8, ge=1, le=10_000)
        twice: bool = False

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        del given
        self.cfg = cfg

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge labels by how often their text is there; which of equals are kept depends on their ids."""
        twice = {} if self.cfg.twice else _said_twice(labels)
        owners: dict[Words, list[int]] = defaultdict(list)
        for place, label in enumerate(labels):
            if place in twice:
                continue
            said = tuple(pieces(label.text))
            if len(said) >= self.cfg.least:
                owners[said].append(place)
        texts = sorted(owners)  # not in the order of the rows, on which nothing may depend
        groups: dict[int, list[int]] = defaultdict(list)
        for text, first in zip(texts, templates(texts, self.cfg.alike), strict=True):
            groups[first] += owners[text]
        reasons = dict(twice)
        for first, group in groups.items():
            told = f"is one of {len(group)} like {shown(' '.join(texts[first]))}"
            reasons |= dict.fromkeys(
                beyond(group, labels, self.cfg.most), f"{told}, of which {self.cfg.most} are kept"
            )
        for place in range(len(labels)):
            yield drop(reasons[place]) if place in reasons else KEEP


def _said_twice(labels: Sequence[Label]) -> dict[int, str]:
    """Places of labels that say what another one says to the same question about the same clip."""
    found: dict[int, str] = {}
    for places in asked_alike(labels):
        said: dict[str, list[int]] = defaultdict(list)
        for place in places:
            said[normalise(labels[place].text)].append(place)
        for equal in said.values():
            found |= dict.fromkeys(beyond(equal, labels, 1), "another row says the same of this clip")
    return found


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
