"""How different several texts about one clip are, and what they tell together.

Texts that make things up differ a lot, so numbers of difference say nothing by themselves: they are compared
at equal factuality alone.

Letters: k texts of a clip, D of a vector, K clips or sources.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidapt.metrics.text import distinct_n, words

Floats = NDArray[np.float64]
_LONGEST = 4
"""Words of the longest n-gram of BLEU."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How different the k texts of one clip are; what compares two is None of a single text.

    Attributes:
        distinct_1: Different words of all words.
        distinct_2: Different pairs of all pairs of neighbours.
        self_bleu: Mean BLEU of each text with the others as references; 1 where all are the same.
        distance: Mean of 1 - cosine over all pairs.
        vendi: How many texts these amount to, from 1 to k.
    """

    distinct_1: float
    distinct_2: float
    self_bleu: float | None
    distance: float | None
    vendi: float | None


@dataclass(frozen=True, slots=True)
class Together:
    """What the k texts of one clip, or of many clips added up, claim together.

    Attributes:
        facts: Facts worth telling.
        covered: Those that at least one text tells.
        claims: Judged claims of all texts, those of each text counted once.
        contradicted: Those of them that are false.
        different: Different claims.
        different_false: Different false claims.
        unread: Statements that the judge could not read.
    """

    facts: int = 0
    covered: int = 0
    claims: int = 0
    contradicted: int = 0
    different: int = 0
    different_false: int = 0
    unread: int = 0

    def __add__(self, other: Together) -> Together:
        return Together(
            self.facts + other.facts,
            self.covered + other.covered,
            self.claims + other.claims,
            self.contradicted + other.contradicted,
            self.different + other.different,
            self.different_false + other.different_false,
            self.unread + other.unread,
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """What one text claims, each claim by whatever names it.

    Attributes:
        supported: True claims.
        contradicted: False ones.
        recalled: Facts worth telling that it tells.
        unread: Statements that the judge could not read.
    """

    supported: Collection[Hashable]
    contradicted: Collection[Hashable]
    recalled: Collection[Hashable]
    unread: int = 0


def spread(texts: Sequence[str], vectors: Floats | None = None) -> Spread:
    """Measure how different texts about one clip are.

    Args:
        texts: [k], at least one.
        vectors: [k, D] of the texts, by a model; None counts words.

    Raises:
        ValueError: If there is no text, or vectors of other texts.
    """
    if not texts:
        raise ValueError("no text")
    rows = bags(texts) if vectors is None else np.asarray(vectors, np.float64)
    if len(rows) != len(texts):
        raise ValueError(f"{len(rows)} vectors of {len(texts)} texts")
    several = len(texts) > 1
    return Spread(
        distinct_1=distinct_n(texts, 1),
        distinct_2=distinct_n(texts, 2),
        self_bleu=self_bleu(texts) if several else None,
        distance=distance(rows) if several else None,
        vendi=vendi(rows) if several else None,
    )


def together(texts: Iterable[Judged], facts: int) -> Together:
    """Add up what texts about one clip claim.

    Args:
        texts: What each claims.
        facts: Facts worth telling about the clip.

    Raises:
        ValueError: If more is recalled than there is to tell.
    """
    every = list(texts)
    recalled = {fact for one in every for fact in one.recalled}
    if len(recalled) > facts:
        raise ValueError(f"{len(recalled)} facts recalled of {facts}")
    true = {claim for one in every for claim in one.supported}
    false = {claim for one in every for claim in one.contradicted}
    wrong = sum(len(set(one.contradicted)) for one in every)
    return Together(
        facts=facts,
        covered=len(recalled),
        claims=wrong + sum(len(set(one.supported)) for one in every),
        contradicted=wrong,
        different=len(true) + len(false),
        different_false=len(false),
        unread=sum(one.unread for one in every),
    )


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU of each text with all others as its references, in [0, 1] (Zhu et al. 2018, "Texygen").

    Zero if there are fewer than two texts.
    """
    split = [words(text) for text in texts]
    if len(split) < 2:
        return 0.0
    return math.fsum(bleu(one, split[:at] + split[at + 1 :]) for at, one in enumerate(split)) / len(split)


def bleu(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU of one text, in [0, 1] (Papineni et al. 2002), as sacreBLEU has it of sentences.

    N-grams longer than the text do not count; of orders without a match, the first is taken for half an
    n-gram, the next for a quarter, and so on ("exp" smoothing, Chen and Cherry 2014).

    Args:
        said: Its words.
        references: Words of the references, at least one.
    """
    if not said:
        return 0.0
    orders = range(1, min(_LONGEST, len(said)) + 1)
    logs, smooth, any_match = 0.0, 1.0, False
    for n in orders:
        own, best = _grams(said, n), Counter[tuple[str, ...]]()
        for reference in references:
            best |= _grams(reference, n)
        matched = sum((own & best).values())
        any_match = any_match or bool(matched)
        if not matched:
            smooth *= 2
        logs += math.log((matched or 1 / smooth) / sum(own.values()))
    if not any_match:
        return 0.0
    nearest = min((abs(len(one) - len(said)), len(one)) for one in references)[1]
    brevity = min(0.0, 1 - nearest / len(said))
    return math.exp(brevity + logs / len(orders))


def bags(texts: Sequence[str]) -> Floats:
    """[k, V] how often each word stands in each text."""
    counts = [Counter(words(text)) for text in texts]
    names = sorted(set().union(*counts))
    return np.array([[one[name] for name in names] for one in counts], np.float64).reshape(len(texts), -1)


def distance(vectors: Floats) -> float:
    """Mean of 1 - cosine over all pairs of [k, D] vectors; 0 if there is none.

    Texts without any word are at distance 0 of each other, and 1 of all others.
    """
    kernel = _cosines(vectors)
    pairs = kernel[np.triu_indices(len(kernel), 1)]
    return float(np.clip(1 - pairs, 0, 2).mean()) if pairs.size else 0.0


def vendi(vectors: Floats) -> float:
    """How many vectors these amount to, from 1 (all the same) to k (all at right angles).

    Source: Friedman and Dieng 2023, arXiv 2210.02410: the exponential of the entropy of the eigenvalues of
    the matrix of cosines over k.

    Raises:
        ValueError: If there is no vector.
    """
    kernel = _cosines(vectors)
    if not len(kernel):
        raise ValueError("no vector")
    values = np.linalg.eigvalsh(kernel / len(kernel))
    kept = values[values > 1e-12]
    return float(np.exp(-(kept * np.log(kept)).sum()))


def _cosines(vectors: Floats) -> Floats:
    """[k, k]; vectors of length 0 are like each other and like no other."""
    rows = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    empty = lengths == 0
    units = rows / np.where(empty, 1.0, lengths)[:, None]
    kernel: Floats = units @ units.T + np.outer(empty, empty)
    return kernel


def _grams(text: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[at : at + n]) for at in range(len(text) - n + 1))
