"""Which texts are nearly equal, found in time that grows with their number and not with its square.

Two texts are near duplicates if they share most words in the same order: "the red ball hits the blue ball"
has the words of "the blue ball hits the red ball", and says something else. Pairs worth comparing are found
by MinHash with banding (Broder 1997, "On the resemblance and containment of documents"; Indyk and Motwani
1998, "Approximate nearest neighbors"). A pair that is alike enough is missed about once in a hundred times,
and more often where thousands of texts resemble one another.
"""

from __future__ import annotations

import zlib
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vidapt.metrics.text import common_in_order

_HASHES = 128
_MISSED = 0.01
_TOGETHER = 4096
"""Texts whose signatures are computed at once; bounds memory."""

_NEIGHBOURS = 4
"""Texts that each is compared with per band: in a narrow domain one bucket can hold thousands, and being
alike is handed on."""

Words = tuple[str, ...]


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
    for keys in _bands(texts, share):
        buckets: dict[bytes, deque[int]] = defaultdict(lambda: deque(maxlen=_NEIGHBOURS))
        for place, key in enumerate(keys):
            bucket = buckets[key]
            yield from ((other, place) for other in bucket)
            bucket.append(place)


def templates(texts: Sequence[Words], share: float) -> list[int]:
    """For each text the place of the one that it is a near duplicate of: an earlier one, or itself.

    A text is compared with such first ones only, so that a chain of texts of which each is like the next does
    not become one.

    Args:
        texts: No two of them equal.
        share: How alike two are that count as one.
    """
    bands = list(_bands(texts, share))
    buckets: list[dict[bytes, deque[int]]] = [defaultdict(lambda: deque(maxlen=_NEIGHBOURS)) for _ in bands]
    first: list[int] = []
    for place, words in enumerate(texts):
        met = {one for keys, found in zip(bands, buckets, strict=True) for one in found.get(keys[place], ())}
        like = next((one for one in sorted(met) if in_order(texts[one], words) >= share - 1e-9), place)
        first.append(like)
        if like == place:
            for keys, found in zip(bands, buckets, strict=True):
                found[keys[place]].append(place)
    return first


def _bands(texts: Sequence[Words], share: float) -> Iterator[list[bytes]]:
    """Of each band the key of every text; those with equal keys may be alike."""
    rows = _rows(share)
    signatures = _signatures(texts)
    for start in range(0, _HASHES - rows + 1, rows):
        band = np.ascontiguousarray(signatures[:, start : start + rows])
        keys: list[bytes] = band.view(f"V{band.itemsize * rows}").ravel().tolist()
        yield keys


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
    yield from (zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words)
    yield from (
        zlib.crc32(f"{one} {other}".encode("utf-8", "surrogatepass")) for one, other in pairwise(words)
    )
