"""Which clips look alike: in a narrow domain the caption of one is often true of another.

Two captions are near duplicates if they share most words in the same order: "the red ball hits the blue ball"
has the words of "the blue ball hits the red ball", and says something else. Of many captions those worth
comparing are found by `metrics/near_texts`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from vidapt.metrics.match import normalise
from vidapt.metrics.near_texts import Words, candidates, in_order
from vidapt.recipe import Pairing
from vidapt.training.align.captions import ClipCaptions

LARGEST_SHARE = 0.05
"""Of all clips, in a group that grows by near duplicates of near duplicates; more would leave no clip to tell
another from. Equal captions are always one group."""

_SMALL = 8
"""Clips that a group may have in any case."""


def group_numbers(clips: Sequence[ClipCaptions], pairing: Pairing) -> list[int]:
    """A number for each clip; clips of one number may fit one another's texts.

    Being alike is handed on: where a is like b and b like c, all three are one group, as long as it is no
    larger than `LARGEST_SHARE` of all clips. A group's number is the place of its first clip.
    """
    groups = _Groups(len(clips))
    if pairing.alike == "fact":
        groups.join_equal((number, clip.fact) for number, clip in enumerate(clips) if clip.fact)
    elif pairing.alike == "text":
        said = [
            (number, tuple(normalise(text).split()))
            for number, clip in enumerate(clips)
            for text in clip.texts
        ]
        groups.join_equal(said)
        if pairing.similar < 1:
            owners = dict((words, number) for number, words in reversed(said))
            _join_similar(groups, owners, pairing.similar, max(_SMALL, int(LARGEST_SHARE * len(clips))))
    return [groups.first(number) for number in range(len(clips))]


def _join_similar(groups: _Groups, owners: dict[Words, int], share: float, most: int) -> None:
    texts = list(owners)
    for one, other in candidates(texts, share):
        a, b = owners[texts[one]], owners[texts[other]]
        short, long = sorted((len(texts[one]), len(texts[other])))
        if short < share * long - 1e-9 or not groups.may_join(a, b, most):
            continue
        if in_order(texts[one], texts[other]) >= share - 1e-9:
            groups.join(a, b)


class _Groups:
    """Numbers 0..n-1 that are joined into groups; each group is known by its first number."""

    def __init__(self, count: int) -> None:
        self._up = list(range(count))
        self._sizes = [1] * count

    def first(self, number: int) -> int:
        while self._up[number] != number:
            self._up[number] = self._up[self._up[number]]
            number = self._up[number]
        return number

    def may_join(self, a: int, b: int, most: int) -> bool:
        """Whether two numbers are in two groups that have at most `most` numbers together."""
        a, b = self.first(a), self.first(b)
        return a != b and self._sizes[a] + self._sizes[b] <= most

    def join(self, a: int, b: int) -> None:
        low, high = sorted((self.first(a), self.first(b)))
        if low != high:
            self._up[high] = low
            self._sizes[low] += self._sizes[high]

    def join_equal(self, marked: Iterable[tuple[int, Hashable]]) -> None:
        """Join numbers with equal marks."""
        first: dict[Hashable, int] = {}
        for number, mark in marked:
            self.join(first.setdefault(mark, number), number)
