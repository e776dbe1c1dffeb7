"""Retrieval: where the right candidate stands when all of them are ordered by score.

Source: recall at k, median and mean rank as text-video retrieval reports them (CLIP-ViP, Xue et al. 2022,
arXiv 2209.06430); dual softmax from CAMoE (Cheng et al. 2021, arXiv 2109.04290).

Ties are not decided by the order of a file: a rank is the expected one, and a recall the chance, when tied
candidates are shuffled. A model that gives every pair the same score so has exactly the recall of guessing.

Letters: Q queries, C candidates, N clips, M texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

AT = (1, 5, 10)
"""Published recalls."""

SHARPNESS = 100.0
"""Of dual softmax, as CLIP-ViP evaluates."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How well one side is found from the other.

    Attributes:
        queries: Q.
        candidates: C.
        recall: Share of queries with a right candidate among the first k, by k.
        median_rank: Median over queries of the rank of the best right candidate; 1 is best.
        mean_rank: Its mean.
        tied: Share of queries in which a wrong candidate has the best right one's score.
    """

    queries: int
    candidates: int
    recall: dict[int, float]
    median_rank: float
    mean_rank: float
    tied: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        named = {f"recall@{k}": value for k, value in self.recall.items()}
        return named | {key: value for key, value in asdict(self).items() if key != "recall"}


@dataclass(frozen=True, slots=True)
class BothWays:
    """Retrieval from clip to text and from text to clip.

    Attributes:
        to_text: Each clip asks for one of its texts.
        to_video: Each text asks for its clip.
    """

    to_text: Retrieval
    to_video: Retrieval

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"to_text": self.to_text.to_dict(), "to_video": self.to_video.to_dict()}


def retrieval(scores: ArrayLike, right: ArrayLike, at: Sequence[int] = AT) -> Retrieval:
    """Rank the candidates of every query.

    Args:
        scores: [Q, C] finite, or minus infinity; higher is better.
        right: [Q, C] bool: the candidates that answer each query, one at least. Where there are several, the
            best of them counts.
        at: k of each recall, 1 or more.

    Raises:
        ValueError: If shapes differ, a score is no number, a query has no right candidate, or k is below 1.
    """
    table, wanted = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if table.ndim != 2 or table.shape != wanted.shape or not table.size:
        raise ValueError(f"scores {table.shape} and right answers {wanted.shape} must be one [Q, C]")
    if np.isnan(table).any():
        raise ValueError("a score is not a number")
    if not wanted.any(axis=1).all():
        raise ValueError(f"query {int(np.flatnonzero(~wanted.any(axis=1))[0])} has no right candidate")
    if min(at, default=1) < 1:
        raise ValueError(f"a recall is taken at 1 or more, not at {min(at)}")
    best = np.where(wanted, table, -np.inf).max(axis=1, keepdims=True)
    better = ((table > best) & ~wanted).sum(axis=1)
    level = table == best
    wrong, good = (level & ~wanted).sum(axis=1), (level & wanted).sum(axis=1)
    # The first of `good` items stands behind wrong / (good + 1) of the others when all are shuffled.
    ranks = 1 + better + wrong / (good + 1)
    return Retrieval(
        queries=len(table),
        candidates=table.shape[1],
        recall={k: _recall(k, better, wrong, good) for k in at},
        median_rank=float(np.median(ranks)),
        mean_rank=float(ranks.mean()),
        tied=float((wrong > 0).mean()),
    )


def both_ways(
    scores: ArrayLike,
    right: ArrayLike,
    at: Sequence[int] = AT,
    *,
    change: Callable[[Floats], Floats] | None = None,
) -> BothWays:
    """Retrieval between clips and texts.

    A clip without a text, or a text without a clip, asks for nothing and is still a candidate.

    Args:
        scores: [N, M].
        right: [N, M] bool: whether a text is true of a clip; or [M] the one clip that each text is about.
        at: k of each recall.
        change: Applied to each way's [Q, C] scores, such as `dual_softmax`.

    Raises:
        ValueError: As `retrieval`; or if there are not M clips named, each below N.
    """
    table = np.asarray(scores, dtype=np.float64)
    fits = np.asarray(right)
    fits = fits if fits.dtype == bool and fits.ndim == 2 else _about(table, fits)
    clips, texts = fits.any(axis=1), fits.any(axis=0)
    asked = (table[clips], table.T[texts])
    to_text, to_video = asked if change is None else map(change, asked)
    return BothWays(retrieval(to_text, fits[clips], at), retrieval(to_video, fits.T[texts], at))


def dual_softmax(cosines: ArrayLike, sharpness: float = SHARPNESS) -> Floats:
    """Scores after each candidate has shared itself out among all queries.

    This uses the other test queries as prior knowledge, which a single query in use does not have. Report it
    beside the plain numbers, never in their place.

    Args:
        cosines: [Q, C].
        sharpness: Factor on the cosines inside the softmax, which runs over the queries.
    """
    table = np.asarray(cosines, dtype=np.float64)
    powers = np.exp(sharpness * (table - table.max(axis=0, keepdims=True)))
    shared: Floats = table * powers / powers.sum(axis=0, keepdims=True)
    return shared


def _about(table: Floats, clip_of: ArrayLike) -> NDArray[np.bool_]:
    """[N, M] whether a text is about a clip."""
    about = np.asarray(clip_of, dtype=np.int64)
    if table.ndim != 2 or about.shape != table.shape[1:]:
        raise ValueError(f"{about.size} texts' clips are named for scores {table.shape}")
    if about.size and not 0 <= about.min() <= about.max() < len(table):
        raise ValueError(f"a text is about a clip that is none of 0 to {len(table) - 1}")
    right: NDArray[np.bool_] = np.arange(len(table))[:, None] == about[None]
    return right


def _recall(k: int, better: Counts, wrong: Counts, good: Counts) -> float:
    """Mean chance that one of `good` items, shuffled among `wrong` others, is among the first k."""
    chances = [
        _reached(k - b, w, g) for b, w, g in zip(better.tolist(), wrong.tolist(), good.tolist(), strict=True)
    ]
    return math.fsum(chances) / len(chances)


def _reached(places: int, wrong: int, good: int) -> float:
    if places <= 0:
        return 0.0
    orders = math.comb(wrong + good, min(places, wrong + good))
    return (orders - math.comb(wrong, places)) / orders
