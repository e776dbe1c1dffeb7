"""Which clips look alike: in a narrow domain the caption of one is often true of another.

Two captions are near duplicates if they share most words in the same order: "the red ball hits the blue ball"
has the words of "the blue ball hits the red ball", and says something else. Of many captions those worth
comparing are found by MinHash with banding (Broder 1997, "On the resemblance and containment of documents";
Indyk and Motwani 1998, "Approximate nearest neighbors"), which takes time with their number and not with its
square. A pair that is alike enough is missed about once in a hundred times, and more often where thousands
of texts resemble one another.
"""

from __future__ import annotations

import zlib
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vidapt.metrics.match import normalise
from vidapt.metrics.text import common_in_order
from vidapt.recipe import Pairing
from vidapt.training.align.captions import ClipCaptions

LARGEST_SHARE = 0.05
"""Of all clips, in a group that grows by near duplicates of near duplicates; more would leave no clip to tell
another from. Equal captions are always one group."""

_SMALL = 8
"""Clips that a group may have in any case."""

_HASHES = 128
_MISSED = 0.01
_TOGETHER = 4096
"""Texts whose signatures are computed at once; bounds memory."""

_NEIGHBOURS = 4
"""Texts that each is compared with per band: in a narrow domain one bucket can hold thousands, and being
alike is handed on."""

Words = tuple[str, ...]


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


def in_order(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of the words of two texts that both have in the same order: 1 for equal ones, 0 to 1."""
    common = common_in_order(one, other)
    return common / (len(one) + len(other) - common) if common else 0.0


def candidates(texts: Sequence[Words], share: float) -> Iterator[tuple[int, int]]:
    """Pairs of places of texts that may be alike, some of them several times.

    Args:
        texts: No two of them equal.
        share: How alike pairs are that must be among them, but for one in a hundred.
    """
    rows = _rows(share)
    signatures = _signatures(texts)
    for start in range(0, _HASHES - rows + 1, rows):
        band = np.ascontiguousarray(signatures[:, start : start + rows])
        buckets: dict[bytes, deque[int]] = defaultdict(lambda: deque(maxlen=_NEIGHBOURS))
        for place, key in enumerate(band.view(f"V{band.itemsize * rows}").ravel().tolist()):
            bucket = buckets[key]
            yield from ((other, place) for other in bucket)
            bucket.append(place)


def _join_similar(groups: _Groups, owners: dict[Words, int], share: float, most: int) -> None:
    texts = list(owners)
    for one, other in candidates(texts, share):
        a, b = owners[texts[one]], owners[texts[other]]
        short, long = sorted((len(texts[one]), len(texts[other])))
        if short < share * long - 1e-9 or not groups.may_join(a, b, most):
            continue
        if in_order(texts[one], texts[other]) >= share - 1e-9:
            groups.join(a, b)


def _rows(share: float) -> int:
    """Hashes of a band: as many as find pairs of that share but for `_MISSED`."""
    # Each word that is not shared breaks two pairs of neighbours, so that these are alike to a lesser degree.
    alike = share**3
    fits = [
        rows
        for rows in range(1, _HASHES + 1)
        if (1 - alike**rows) ** (_HASHES // rows) <= _MISSED or rows == 1
    ]
    return max(fits)


def _signatures(texts: Sequence[Words]) -> NDArray[np.uint32]:
    """[texts, hashes]: the least hash of the words and pairs of neighbours of each, under many functions."""
    rng = np.random.default_rng(0)
    # Multiply-shift hashing (Dietzfelbinger et al. 1997): the upper half of a product that overflows.
    factors = rng.integers(0, 1 << 63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    added = rng.integers(0, 1 << 63, _HASHES, dtype=np.uint64)
    found = np.full((len(texts), _HASHES), np.iinfo(np.uint32).max, dtype=np.uint32)
    for start in range(0, len(texts), _TOGETHER):
        pieces = [list(_pieces(words)) for words in texts[start : start + _TOGETHER]]
        some = [place for place, own in enumerate(pieces) if own]
        if some:
            hashes = np.array([one for place in some for one in pieces[place]], dtype=np.uint64)
            firsts = np.cumsum([0, *(len(pieces[place]) for place in some[:-1])])
            for number in range(_HASHES):
                mixed = (hashes * factors[number] + added[number]) >> np.uint64(32)
                found[np.array(some) + start, number] = np.minimum.reduceat(mixed, firsts)
    return found


def _pieces(words: Words) -> Iterator[int]:
    """Words and pairs of neighbours as numbers, the same in every process."""
    yield from (zlib.crc32(word.encode()) for word in words)
    yield from (zlib.crc32(f"{one} {other}".encode()) for one, other in pairwise(words))


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
