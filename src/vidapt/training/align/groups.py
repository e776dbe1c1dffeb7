"""Which clips look alike: in a narrow domain the caption of one is often true of another.

Near-duplicates are found exactly, without comparing all pairs: two sets of words can only have a large share
in common if they share a word among the rarest of each (prefix filtering, Bayardo et al. 2007, "Scaling Up
All Pairs Similarity Search").
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

from vidapt.metrics.match import normalise
from vidapt.recipe import Pairing
from vidapt.training.align.captions import ClipCaptions


def group_numbers(clips: Sequence[ClipCaptions], pairing: Pairing) -> list[int]:
    """A number for each clip; clips of one number may fit one another's texts.

    Being alike is handed on: where a is like b and b like c, all three are one group. A group's number is
    the place of its first clip.
    """
    groups = _Groups(len(clips))
    if pairing.alike == "fact":
        groups.join_equal((number, clip.fact) for number, clip in enumerate(clips) if clip.fact)
    elif pairing.alike == "text":
        texts = [(number, normalise(text)) for number, clip in enumerate(clips) for text in clip.texts]
        sets = [(number, frozenset(text.split())) for number, text in texts]
        if pairing.similar == 1:
            groups.join_equal(sets)
        else:
            for a, b in similar_sets([words for _, words in sets], pairing.similar):
                groups.join(sets[a][0], sets[b][0])
    return [groups.first(number) for number in range(len(clips))]


def similar_sets(sets: Sequence[frozenset[str]], share: float) -> Iterator[tuple[int, int]]:
    """Pairs of places whose sets have at least `share` of their words in common (Jaccard).

    Args:
        sets: Words of each text.
        share: Above 0, at most 1.
    """
    counts = Counter(word for words in sets for word in words)
    seen: dict[str, list[int]] = defaultdict(list)
    for place, words in enumerate(sets):
        rarest = sorted(words, key=lambda word: (counts[word], word))
        # Of n words at least ceil(share n) must be shared, so one of the others and one more is among these.
        prefix = rarest[: len(words) - math.ceil(share * len(words) - 1e-9) + 1]
        for other in sorted({other for word in prefix for other in seen[word]}):
            common = len(words & sets[other])
            if common >= share * (len(words) + len(sets[other]) - common) - 1e-9:
                yield other, place
        for word in prefix:
            seen[word].append(place)


class _Groups:
    """Numbers 0..n-1 that are joined into groups; each group is known by its first number."""

    def __init__(self, count: int) -> None:
        self._up = list(range(count))

    def first(self, number: int) -> int:
        while self._up[number] != number:
            self._up[number] = self._up[self._up[number]]
            number = self._up[number]
        return number

    def join(self, a: int, b: int) -> None:
        low, high = sorted((self.first(a), self.first(b)))
        self._up[high] = low

    def join_equal(self, marked: Iterable[tuple[int, Hashable]]) -> None:
        """Join numbers with equal marks."""
        first: dict[Hashable, int] = {}
        for number, mark in marked:
            self.join(first.setdefault(mark, number), number)
