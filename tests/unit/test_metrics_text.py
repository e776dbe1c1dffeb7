"""Overlap with references, against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.metrics.text import caption_scores, distinct_n, rouge_l, word_f1, words

sentences = st.lists(st.sampled_from(["red", "ball", "the", "rolls"]), max_size=8).map(" ".join)


def test_words_keep_numbers_and_joined_words_whole() -> None:
    assert words('The 8-ball rolled "1.5" m; don\'t stop.') == [
        "the",
        "8-ball",
        "rolled",
        "1.5",
        "m",
        "don't",
        "stop",
    ]


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence() -> None:
    # Lin 2004: police killed the gunman / police kill the gunman / the gunman kill police.
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)
    # Common: "red ball rolls" (3) of 3 said and 6 true words: 2 * 1 * 0.5 / 1.5.
    assert rouge_l("red ball rolls", "the red ball then slowly rolls") == pytest.approx(2 / 3)


def test_word_f1_counts_repeats_but_no_order() -> None:
    assert word_f1("ball red", "red ball") == 1.0
    # Shared: "red", once: 2 * 1 / (3 + 2).
    assert word_f1("red red red", "red ball") == pytest.approx(0.4)


def test_distinct_counts_different_ngrams_over_all_texts() -> None:
    texts = ["the red ball", "the red cue"]
    assert distinct_n(texts, 1) == pytest.approx(4 / 6)
    assert distinct_n(texts, 2) == pytest.approx(3 / 4)
    assert distinct_n(texts, 4) == 0.0
    with pytest.raises(ValueError, match="n=0"):
        distinct_n(texts, 0)


@settings(deadline=None)
@given(sentences, sentences)
def test_overlaps_are_symmetric_and_order_costs(a: str, b: str) -> None:
    assert rouge_l(a, b) == rouge_l(b, a)
    assert word_f1(a, b) == word_f1(b, a)
    assert 0 <= rouge_l(a, b) <= word_f1(a, b) <= 1
    assert rouge_l(a, a) == word_f1(a, a) == bool(a)


def test_captions_are_scored_against_their_best_reference() -> None:
    found = caption_scores(
        ["a red ball", ""], [["a blue cue", "a red ball."], ["nothing"]], ["c1", "c2"], resamples=200
    )
    assert found.n == 2
    assert found.rouge_l.value == found.word_f1.value == 0.5
    assert (found.rouge_l.low, found.rouge_l.high) == (0.0, 1.0)
    assert (found.distinct_1, found.distinct_2, found.words) == (1.0, 1.0, 1.5)


@pytest.mark.parametrize("references", [["a"], [[]]])
def test_captions_without_a_list_of_references_are_refused(references: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="reference"):
        caption_scores(["a"], references, ["c"])
