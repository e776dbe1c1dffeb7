"""How different texts are, against counts by hand and against libraries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.metrics.diversity import (
    Judged,
    Together,
    bags,
    bleu,
    distance,
    self_bleu,
    spread,
    together,
    vendi,
)
from vidapt.metrics.text import words

TEXTS = [
    "the white ball hits the red ball and stops",
    "the white ball hits the blue ball.",
    "the red ball drops in the corner",
    "nothing happens here",
    "the white ball",
    "red",
]
some_texts = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=7).map(" ".join), min_size=1, max_size=5
)


def test_bleu_by_hand() -> None:
    said, reference = ["the", "cat", "sat", "on", "mat"], ["the", "cat", "sat", "on", "the", "mat"]
    precisions = (5 / 5, 3 / 4, 2 / 3, 1 / 2)
    expected = math.exp(1 - 6 / 5) * math.prod(precisions) ** 0.25
    assert bleu(said, [reference]) == pytest.approx(expected)
    assert bleu(said, [reference, said]) == pytest.approx(1.0)
    assert bleu(["a", "b"], [["b", "a"]]) == pytest.approx((1 * (1 / 2) / 1) ** 0.5), "a smoothed pair"
    assert bleu(["a"], [["b"]]) == bleu([], [["b"]]) == 0.0


def test_self_bleu_is_sacrebleus() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    split = [" ".join(words(text)) for text in TEXTS]
    theirs = [
        sacrebleu.sentence_bleu(one, split[:at] + split[at + 1 :], tokenize="none").score / 100
        for at, one in enumerate(split)
    ]
    assert self_bleu(TEXTS) == pytest.approx(sum(theirs) / len(theirs))
    for at, one in enumerate(split):
        assert bleu(one.split(), [text.split() for text in split[:at] + split[at + 1 :]]) == pytest.approx(
            theirs[at]
        )


def test_equal_texts_and_texts_without_a_common_word() -> None:
    same, apart = spread(["the red ball stops"] * 3), spread(["a b c", "d e f", "g h i"])
    assert (same.self_bleu, same.distance, same.vendi) == (
        pytest.approx(1),
        pytest.approx(0, abs=1e-12),
        pytest.approx(1),
    )
    assert (same.distinct_1, same.distinct_2) == (4 / 12, 3 / 9)
    assert (apart.self_bleu, apart.distance, apart.vendi) == (0.0, 1.0, pytest.approx(3))
    assert (apart.distinct_1, apart.distinct_2) == (1.0, 1.0)


def test_one_text_is_compared_with_none() -> None:
    alone = spread(["the red ball"])
    assert (alone.self_bleu, alone.distance, alone.vendi) == (None, None, None)
    assert alone.distinct_1 == 1.0


@given(some_texts)
def test_bounds_and_order(texts: list[str]) -> None:
    found, turned = spread(texts), spread(texts[::-1])
    assert found.distance == pytest.approx(turned.distance)
    assert found.vendi == pytest.approx(turned.vendi)
    assert found.self_bleu == pytest.approx(turned.self_bleu)
    if len(texts) > 1:
        assert found.self_bleu is not None
        assert found.distance is not None
        assert found.vendi is not None
        assert 0 <= found.self_bleu <= 1 + 1e-9
        assert 0 <= found.distance <= 1 + 1e-9
        assert 1 - 1e-6 <= found.vendi <= len(texts) + 1e-6


@given(st.integers(1, 6), st.integers(0, 1000))
def test_vendi_is_the_entropy_of_eigenvalues(k: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(k, 4))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = np.linalg.svd(units / np.sqrt(k), compute_uv=False) ** 2
    values = values[values > 1e-12]
    assert vendi(vectors) == pytest.approx(np.exp(-(values * np.log(values)).sum()))
    pairs = [1 - units[i] @ units[j] for i in range(k) for j in range(i)]
    assert distance(vectors) == pytest.approx(np.mean(pairs) if pairs else 0.0)


def test_vectors_of_a_model_stand_in_place_of_words() -> None:
    apart = spread(["the same", "the same"], np.eye(2))
    assert (apart.distance, apart.vendi) == (1.0, pytest.approx(2))
    with pytest.raises(ValueError, match="3 vectors of 2 texts"):
        spread(["a", "b"], np.eye(3))
    with pytest.raises(ValueError, match="no text"):
        spread([])
    assert bags(["a a b", "", "c"]).tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_texts_without_words_are_like_each_other() -> None:
    assert distance(bags(["", "", "a"])) == pytest.approx(2 / 3)
    assert vendi(np.zeros((3, 2))) == pytest.approx(1)
    with pytest.raises(ValueError, match="no vector"):
        vendi(np.zeros((0, 2)))


def test_what_texts_tell_together_by_hand() -> None:
    texts = [
        Judged(supported=["a", "b", "b"], contradicted=["x"], recalled=["a"]),
        Judged(supported=["a"], contradicted=["x", "y"], recalled=["a", "c"], unread=2),
        Judged(supported=[], contradicted=[], recalled=[]),
    ]
    found = together(texts, 5)
    assert found == Together(
        facts=5, covered=2, claims=6, contradicted=3, different=4, different_false=2, unread=2
    )
    assert found + found == Together(10, 4, 12, 6, 8, 4, 4)
    with pytest.raises(ValueError, match="2 facts recalled of 1"):
        together(texts, 1)


@given(st.lists(st.lists(st.sampled_from("abcdxyz")), min_size=1, max_size=5))
def test_more_texts_never_cover_less(claims: list[list[str]]) -> None:
    judged = [Judged(set("abcd") & set(one), set("xyz") & set(one), set("ab") & set(one)) for one in claims]
    steps = [together(judged[: k + 1], 2) for k in range(len(judged))]
    for before, after in itertools.pairwise(steps):
        assert before.covered <= after.covered
        assert before.different_false <= after.different_false
    assert together(judged * 2, 2).different == steps[-1].different, "saying it again adds nothing"
