"""Retrieval numbers against brute force, and what ties may not do to them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.metrics.retrieval import both_ways, dual_softmax, retrieval


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and at least one right candidate for every query."""
    queries, candidates = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    cells = queries * candidates
    scores = draw(st.lists(st.integers(0, 2), min_size=cells, max_size=cells))
    right = np.array(draw(st.lists(st.booleans(), min_size=cells, max_size=cells)))
    right = right.reshape(queries, candidates)
    for query in range(queries):
        right[query, draw(st.integers(0, candidates - 1))] = True
    return np.array(scores, dtype=float).reshape(queries, candidates), right


def shuffled_ranks(scores: np.ndarray, right: np.ndarray) -> list[int]:
    """Rank of the first right candidate of one query under every order of the candidates."""
    ranks = []
    for order in permutations(range(len(scores))):
        ordered = sorted(order, key=lambda index: -scores[index])  # stable, so `order` decides the ties
        ranks.append(1 + next(place for place, index in enumerate(ordered) if right[index]))
    return ranks


@given(tables())
def test_ties_count_as_if_the_tied_were_shuffled(table: tuple[np.ndarray, np.ndarray]) -> None:
    scores, right = table
    found = retrieval(scores, right, at=(1, 2, 3))
    ranks = [shuffled_ranks(s, r) for s, r in zip(scores, right, strict=True)]
    expected = [float(np.mean(each)) for each in ranks]
    assert found.mean_rank == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.median_rank == pytest.approx(np.median(expected), abs=1e-12)
    for k in (1, 2, 3):
        chance = np.mean([np.mean(np.array(each) <= k) for each in ranks])
        assert found.recall[k] == pytest.approx(chance, abs=1e-12)


@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_and_queries_changes_nothing(
    table: tuple[np.ndarray, np.ndarray], random: object
) -> None:
    scores, right = table
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    rows, columns = rng.permutation(len(scores)), rng.permutation(scores.shape[1])
    again = retrieval(scores[rows][:, columns], right[rows][:, columns])
    first = retrieval(scores, right)
    assert (again.recall, again.median_rank, again.tied) == (first.recall, first.median_rank, first.tied)
    assert again.mean_rank == pytest.approx(first.mean_rank, abs=1e-12)


@given(tables())
def test_recall_grows_with_k_and_ends_at_one(table: tuple[np.ndarray, np.ndarray]) -> None:
    scores, right = table
    every = tuple(range(1, scores.shape[1] + 1))
    recalls = list(retrieval(scores, right, at=every).recall.values())
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1.0


def test_equal_scores_are_exactly_guessing() -> None:
    found = both_ways(np.zeros((20, 20)), list(range(20)))
    assert found.to_text.recall == {1: 0.05, 5: 0.25, 10: 0.5}
    assert found.to_video.mean_rank == found.to_video.median_rank == 10.5
    assert found.to_video.tied == 1.0


def test_several_texts_of_a_clip_and_a_clip_without() -> None:
    # Clip 0 has texts 0 and 1, clip 1 has text 2, clip 2 has none.
    scores = [[0.1, 0.9, 0.5], [0.2, 0.3, 0.8], [0.7, 0.0, 0.9]]
    found = both_ways(scores, [0, 0, 1], at=(1,))
    assert (found.to_text.queries, found.to_text.candidates) == (2, 3)
    assert found.to_text.recall[1] == 1.0  # text 1 for clip 0, text 2 for clip 1
    assert (found.to_video.queries, found.to_video.candidates) == (3, 3)
    # Text 0 finds its clip third (behind 2 and 1), text 1 first, text 2 second (behind the clip without).
    assert found.to_video.mean_rank == pytest.approx(2.0)
    assert found.to_dict()["to_video"]["recall@1"] == pytest.approx(1 / 3)


def test_dual_softmax_is_the_published_formula_and_shares_each_candidate_out() -> None:
    cosines = np.random.default_rng(0).uniform(-1, 1, (4, 6))
    expected = np.empty_like(cosines)
    for column in range(6):
        total = sum(np.exp(100 * cosines[row, column]) for row in range(4))
        for row in range(4):
            expected[row, column] = cosines[row, column] * np.exp(100 * cosines[row, column]) / total
    assert np.abs(dual_softmax(cosines) - expected).max() < 1e-12
    # A softmax over the candidates instead is another thing.
    assert np.abs(dual_softmax(cosines.T).T - expected).max() > 0.1


def test_dual_softmax_helps_where_one_text_fits_every_clip() -> None:
    cosines = np.array([[0.5, 0.6], [0.1, 0.59]])  # text 1 is liked by both clips, more by the wrong one
    assert both_ways(cosines, [0, 1], at=(1,)).to_text.recall[1] == 0.5
    assert both_ways(cosines, [0, 1], at=(1,), change=dual_softmax).to_text.mean_rank <= 1.5
    assert both_ways(cosines * 1000, [0, 1], change=dual_softmax).to_text.queries == 2  # does not overflow


@pytest.mark.parametrize(
    ("scores", "right", "message"),
    [
        ([[float("nan")]], [[True]], "not a number"),
        ([[1.0, 2.0]], [[False, False]], "query 0"),
        ([[1.0]], [[True, False]], "one"),
        ([], [], "one"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores: list[object], right: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval(scores, right)


def test_texts_must_name_clips_that_are_there() -> None:
    with pytest.raises(ValueError, match="none of 0 to 1"):
        both_ways(np.zeros((2, 2)), [0, 2])
    with pytest.raises(ValueError, match="1 texts"):
        both_ways(np.zeros((2, 2)), [0])
    with pytest.raises(ValueError, match="1 or more"):
        retrieval([[1.0]], [[True]], at=(0,))
