"""A tokenizer that goes on learning from a domain's labels, and the model's rows for it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from align_tools import recipe, stage
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from vidapt.errors import ConfigError
from vidapt.loading import open_model
from vidapt.recipe import Prompt
from vidapt.training.more_tokens import LEAST_SEEN, _merges, grow_tokenizer
from vidapt.training.tokenizer import learn_tokenizer

BEFORE = ["the red ball is potted.", "which ball is red?", "the cue ball hits the red ball."] * 3
LABELS = ["the crate is cracked.", "is the crate on the belt?", "the belt stops.", "a crate comes."] * 3


BASE = learn_tokenizer(BEFORE, Prompt(user="{text}", answer="{text}"), 320)


def test_words_of_the_domain_become_whole_and_all_else_is_as_it_was() -> None:
    grown, pieces = grow_tokenizer(BASE, LABELS, 200)
    assert len(grown) == len(BASE) + len(pieces) <= len(BASE) + 200
    for text in BEFORE:
        assert grown(text).input_ids == BASE(text).input_ids or len(grown(text).input_ids) < len(
            BASE(text).input_ids
        )
    assert [grown.decode(one) for one in grown(" crate belt").input_ids] == [" crate", " belt"]
    assert len(BASE(" crate belt").input_ids) > 4
    vocabulary = grown.get_vocab()
    spelled = {number: piece for piece, number in vocabulary.items()}
    for token, (left, right) in enumerate(pieces, start=len(BASE)):
        assert spelled[token] == spelled[left] + spelled[right]
    assert {piece: vocabulary[piece] for piece in BASE.get_vocab()} == BASE.get_vocab()
    marks = ("bos_token_id", "eos_token_id", "pad_token_id")
    assert [getattr(grown, one) for one in marks] == [getattr(BASE, one) for one in marks]


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=5))
def test_every_text_comes_back(text: str, labels: list[str]) -> None:
    grown, _ = grow_tokenizer(BASE, labels * 3, 50)
    options = {"clean_up_tokenization_spaces": False}
    assert grown.decode(grown(text).input_ids, **options) == BASE.decode(BASE(text).input_ids, **options)


def naive(words: list[list[int]], times: list[int], first: int, count: int) -> list[tuple[int, int]]:
    """Byte-pair encoding by counting everything anew each time."""
    merged: list[tuple[int, int]] = []
    while len(merged) < count:
        seen: Counter[tuple[int, int]] = Counter()
        for word, often in zip(words, times, strict=True):
            for pair in pairwise(word):
                seen[pair] += often
        best = min(seen, key=lambda pair: (-seen[pair], pair), default=None)
        if best is None or seen[best] < LEAST_SEEN:
            return merged
        token = first + len(merged)
        merged.append(best)
        for word in words:
            place = 0
            while place < len(word) - 1:
                if (word[place], word[place + 1]) == best:
                    word[place : place + 2] = [token]
                place += 1
    return merged


WORDS = st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=8), st.integers(1, 4)), max_size=12)


@settings(max_examples=150, deadline=None)
@given(WORDS, st.integers(0, 12))
def test_merges_are_those_of_counting_everything_anew(told: list[tuple[list[int], int]], count: int) -> None:
    words, times = [list(word) for word, _ in told], [often for _, often in told]
    assert _merges([*map(list, words)], times, 5, count) == naive(words, times, 5, count)


def test_a_new_token_begins_as_the_mean_of_its_pieces() -> None:
    model, tokenizer = open_model("billiards-home")
    before = model.language.get_input_embeddings().weight.detach().clone()
    grown, pieces = grow_tokenizer(tokenizer, LABELS, 30)
    model.add_tokens(pieces)
    table = model.language.get_input_embeddings().weight
    assert len(table) == len(grown) == model.blueprint.language["vocab_size"] == len(before) + len(pieces)
    assert torch.equal(table[: len(before)], before)
    for row, (left, right) in enumerate(pieces, start=len(before)):
        assert torch.allclose(table[row], (table[left] + table[right]) / 2)
    assert model.language.get_output_embeddings().weight is table


def test_what_cannot_grow_says_so() -> None:
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a")))
    with pytest.raises(ConfigError, match="no byte-pair encoding"):
        grow_tokenizer(words, LABELS, 3)
    with pytest.raises(ValueError, match="`new_tokens` goes with `start`"):
        recipe(stage(Path("labels.jsonl")), new_tokens=5)
    model, _ = open_model("billiards-home")
    model.origin = object()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="a published one's tokens belong to its format"):
        model.add_tokens([(1, 2)])
