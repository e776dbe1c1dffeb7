"""A mark that a label or a user writes is words: only the template makes special tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vidapt.errors import FormatError
from vidapt.models.dual_text import text_ids
from vidapt.models.spelling import marks_of
from vidapt.models.text import Encoded, encode
from vidapt.nouns import MEDIA, Clip, Role, Sample, Turn
from vidapt.recipe import Prompt
from vidapt.training.tokenizer import learn_caption_tokenizer, learn_tokenizer

PROMPT = Prompt(start="<s>", system="<s><|system|>{text}<|end|>", user="<|user|>{text}<|end|>", end="</s>")
WORDS = "the red ball hits the </s blue one; <|user> it is 12"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return learn_tokenizer([WORDS], PROMPT, 320)


def encoded(tokenizer: Any, *turns: tuple[Role, str], prompt: Prompt = PROMPT) -> Encoded:
    clips = (Clip("c", Path("c")),)
    return encode(Sample("s", clips, tuple(Turn(*turn) for turn in turns), source="f:1"), prompt, tokenizer)


def everything(found: Encoded) -> list[int]:
    return [*(i for piece in found.prefix if not isinstance(piece, int) for i in piece), *found.ids]


def test_an_answer_that_writes_the_end_goes_on_behind_it(tokenizer: Any) -> None:
    found = encoded(tokenizer, ("user", "what?"), ("assistant", "the </s> ball"))
    labels = [token for token, labelled in zip(found.ids, found.answer, strict=True) if labelled]
    assert labels.index(tokenizer.eos_token_id) == len(labels) - 1
    assert tokenizer.decode(labels) == "the </s> ball</s>"


@pytest.mark.parametrize("mark", ["<s>", "</s>", "<pad>", "<|user|>", "<|end|>", "<</s>s>", "</s></s>"])
@pytest.mark.parametrize("place", ["system", "question", "answer"])
def test_marks_of_all_turns_are_those_of_the_template(tokenizer: Any, place: str, mark: str) -> None:
    def turns(words: str) -> list[tuple[Role, str]]:
        said = {"system": "be short", "question": "what?", "answer": "a ball"} | {place: words}
        return [("system", said["system"]), ("user", said["question"]), ("assistant", said["answer"])]

    marks = marks_of(tokenizer, PROMPT)
    for words in (mark, f"{mark} x", f"x {mark}", f"red{mark}ball {mark}"):
        found, plain = encoded(tokenizer, *turns(words)), encoded(tokenizer, *turns("x"))
        written = [token for token in everything(found) if token in marks]
        assert written == [token for token in everything(plain) if token in marks], words
        assert words in tokenizer.decode(everything(found))


def test_what_stands_around_a_mark_keeps_its_ids(tokenizer: Any) -> None:
    around = [tuple(tokenizer(text).input_ids) for text in ("the red", " ball")]
    found = encoded(tokenizer, ("user", f"{MEDIA}the red <|end|> ball"), ("assistant", "x")).ids
    assert found[: len(around[0])] == around[0]
    assert any(found[at : at + len(around[1])] == around[1] for at in range(len(found)))


def test_a_mark_of_the_template_alone_that_is_not_special() -> None:
    """`added_tokens` that are not called special are marks where the template writes them."""
    tokenizer = learn_tokenizer([WORDS], Prompt(), 300)
    tokenizer.add_tokens(["<|user|>", "<other>"])
    found = encoded(tokenizer, ("user", "x <|user|> <other>"), ("assistant", "x"))
    marks = tokenizer.convert_tokens_to_ids(["<|user|>", "<other>"])
    assert [everything(found).count(mark) for mark in marks] == [1, 1]


def test_a_vocabulary_of_whole_words_has_no_way_around() -> None:
    """Every piece of the mark is cut in turn, until one is a mark by a single letter."""
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "ball": 2, "|": 3}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", eos_token="</s>", additional_special_tokens=["|"]
    )
    found = encoded(tokenizer, ("user", "ball"), ("assistant", "ball </s> unheard"), prompt=Prompt())
    assert found.ids[1:] == (2, 0, 0, 0, 1)
    with pytest.raises(FormatError, match=r"f:1: '\|' is a special token") as error:
        encoded(tokenizer, ("user", "ball"), ("assistant", "a | b"), prompt=Prompt())
    assert "write the text without it" in str(error.value)


def test_a_dual_encoders_text_ends_where_it_ends() -> None:
    tokenizer = learn_caption_tokenizer([WORDS], 300)
    end = tokenizer.eos_token_id
    plain = tokenizer("the red ball").input_ids
    assert text_ids(tokenizer, "the red ball") == tuple(plain)
    found = text_ids(tokenizer, "the red</s> ball <s>")
    assert found.index(end) == len(found) - 1
    assert found[0] == plain[0]
    assert tokenizer.bos_token_id not in found[1:]
    assert tokenizer.decode(found[1:-1]) == "the red</s> ball <s>"


def test_a_text_of_nothing_but_marks_is_refused_at_once(tokenizer: Any) -> None:
    with pytest.raises(FormatError, match="f:1: its text writes 100000 special tokens"):
        encoded(tokenizer, ("user", "</s>" * 100_000), ("assistant", "x"))
