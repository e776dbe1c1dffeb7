"""Turns that begin with a clip, line breaks behind one, and white space at the end of what is read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vidapt.models.packed import Words, spell
from vidapt.models.text import encode
from vidapt.nouns import MEDIA, Clip, Grid, Sample, Text, Turn
from vidapt.recipe import Prompt

SPAN = (Grid(1, 1, 1), 0)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Bytes as tokens, and two line breaks as one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*alphabet, "ĊĊ"])}
    made = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


def read(prompt: Prompt, tokenizer: Any, *turns: str) -> str:
    """What is read, with `#` for clips."""
    roles = ("user", "assistant")
    clips = sum(turn.count(MEDIA) for turn in turns)
    media = tuple(Clip(str(index), Path(str(index))) for index in range(clips))
    said = tuple(Turn(roles[index % 2], turn) for index, turn in enumerate(turns))  # type: ignore[arg-type]
    encoded = encode(Sample("0", media, said), prompt, tokenizer)
    pieces = [*encoded.prefix, encoded.ids]
    return "".join("#" if isinstance(piece, int) else tokenizer.decode(piece) for piece in pieces)


PROMPT = Prompt(user="U: {text};", sighted="U:{text};", opening="A:", answer=" {text}", end="|")


def test_a_turn_that_begins_with_a_clip_is_written_in_its_own_way(tokenizer: Any) -> None:
    assert read(PROMPT, tokenizer, f"{MEDIA}what", "this", "and", "that") == "U:#what;A: this|U: and;A: that|"
    assert read(PROMPT, tokenizer, f"what {MEDIA}", "this") == "U: what #;A: this|"
    plain = PROMPT.model_copy(update={"sighted": None})
    assert read(plain, tokenizer, f"{MEDIA}what", "this") == "U: #what;A: this|"


def test_what_a_clip_ends_with_is_dropped_behind_its_mark(tokenizer: Any) -> None:
    dropping = PROMPT.model_copy(update={"dropped": "\n"})
    assert read(dropping, tokenizer, f"{MEDIA}\nwhat\n", "this") == "U:#what\n;A: this|"
    assert read(PROMPT, tokenizer, f"{MEDIA}\nwhat", "this") == "U:#\nwhat;A: this|"


def test_white_space_at_the_end_is_what_it_is_in_front_of_a_word(tokenizer: Any) -> None:
    (_, words) = spell((SPAN, "x\n\n"), 0, tokenizer)
    assert isinstance(words, Words)
    assert words.ids == tuple(tokenizer("x\n\nwhat").input_ids[:3])
    assert words.ids != tuple(tokenizer("x\n\n").input_ids)
    (between, _) = spell(("x", SPAN), 0, tokenizer)
    assert between == Words(tuple(tokenizer("x").input_ids))


def test_text_is_a_length_that_tells_its_ids() -> None:
    text = Text((7, 8, 9))
    assert text == 3
    assert text.ids == (7, 8, 9)
    assert sum([text, Text(())]) == 3
