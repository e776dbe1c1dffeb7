"""Which tokens are learned, and where the head runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from training_tools import GivenBatch, random_features, tokenizer, video_lm
from transformers import PreTrainedTokenizerFast

from vidapt.errors import FormatError
from vidapt.models.packed import Group, pack
from vidapt.models.text import encode
from vidapt.nouns import Clip, Sample, Turn
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Prompt
from vidapt.training.data import group_by_clip

_WORDS = "<pad> </s> USER : ASSISTANT what is it ? red ball and blue system"
ID = {word: index for index, word in enumerate(_WORDS.split())}
CLIP = Clip("c", Path("c.mp4"))
LLAVA = Prompt(start="system ", user="USER : {text}", opening=" ASSISTANT :", media="{media}\n")


def words() -> PreTrainedTokenizerFast:
    """One token per word, so that ids can be written by hand."""
    table = Tokenizer(models.WordLevel(ID, unk_token="<pad>"))
    table.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=table, pad_token="<pad>", eos_token="</s>", additional_special_tokens=["</s>"]
    )


def ids(text: str) -> tuple[int, ...]:
    return tuple(ID[word] for word in text.split())


def talk(*texts: str, media: int = 1) -> Sample:
    turns = tuple(Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(texts))
    return Sample("s", (CLIP,) * media, turns, source="labels.jsonl:3")


def test_the_default_prompt_supervises_the_answer_and_its_end() -> None:
    encoded = encode(talk("what is it ? ", "red ball "), Prompt(), words())
    assert encoded.prefix == (0,)
    assert encoded.ids == ids("what is it ? red ball </s>")
    assert encoded.answer == (False,) * 4 + (True,) * 3
    assert encoded.labels == 3


def test_a_prompt_like_llavas_supervises_every_answer_and_its_end_and_nothing_else() -> None:
    sample = talk("<video> what is it ?", "red ball ", "is it blue ?", "it is red ")
    encoded = encode(sample, LLAVA, words())
    assert encoded.prefix == (ids("system USER :"), 0)
    assert encoded.ids == ids(
        "what is it ? ASSISTANT : red ball </s> USER : is it blue ? ASSISTANT : it is red </s>"
    )
    labelled = [token for token, own in zip(encoded.ids, encoded.answer, strict=True) if own]
    assert labelled == list(ids("red ball </s> it is red </s>"))
    assert encoded.answer[:6] == (False,) * 6


def test_an_open_answer_stops_where_the_model_begins() -> None:
    encoded = encode(talk("<video> what ?", ""), LLAVA, words(), open_answer=True)
    assert encoded.ids == ids("what ? ASSISTANT :")
    assert not any(encoded.answer)


def test_answers_before_a_later_clip_are_supervised_too() -> None:
    sample = talk("<video> what ?", "red ", "<video> and it ?", "blue ", media=2)
    encoded = encode(sample, LLAVA, words())
    assert encoded.prefix == (
        ids("system USER :"),
        0,
        ids("what ? ASSISTANT :"),
        ids("red </s>"),
        ids("USER :"),
        1,
    )
    assert encoded.early == (3,)
    assert encoded.labels == 4


def test_clips_without_marks_stand_before_the_first_question() -> None:
    assert encode(talk("what ?", "red ", media=2), LLAVA, words()).prefix == (ids("system USER :"), 0, 1)


def test_marks_and_clips_must_agree() -> None:
    with pytest.raises(FormatError, match=r"labels.jsonl:3: 1 media marks for 2 clips"):
        encode(talk("<video> what ?", "red ", media=2), LLAVA, words())


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        (Sample("s", (CLIP,), (Turn("user", "what ?"),), source="l:1"), "no answer"),
        (
            Sample("s", (), (Turn("assistant", "red"), Turn("user", "?")), source="l:1"),
            "begins with an answer",
        ),
        (talk("what ?", "red " * 9), "its answer has 10 tokens, the limit is 8"),
    ],
)
def test_what_cannot_be_learned_is_refused_with_its_line(sample: Sample, found: str) -> None:
    with pytest.raises(FormatError, match=found):
        group_by_clip([sample], Prompt(), words(), max_answer_tokens=8)


def test_questions_about_one_stretch_of_a_clip_form_a_group() -> None:
    later = Clip("c", Path("c.mp4"), start_s=3)
    samples = [
        talk("what ?", "red "),
        Sample("t", (later,), talk("what ?", "blue ").turns),
        talk("is it ?", "it is "),
    ]
    groups = group_by_clip(samples, Prompt(), words(), max_answer_tokens=99)
    assert [len(group.samples) for group in groups] == [2, 1]
    assert groups[1].media == (later,)


def test_the_head_runs_only_where_a_label_is() -> None:
    model = video_lm(resolution={"kind": "whole"})
    encoded = tuple(
        encode(Sample("", (CLIP,), (Turn("user", "what is it?" * n), Turn("assistant", "it is red"))),
               model.blueprint.prompt, tokenizer())
        for n in (1, 3)
    )  # fmt: skip
    features = random_features(3, torch.float32, 0)
    group = Group(encoded, ((model.connector.plan(features.grid),),))
    batch = GivenBatch([features], pack([group], model.positions))
    rows: list[int] = []
    head = model.language.get_output_embeddings()
    head.register_forward_hook(lambda module, given, made: rows.append(len(given[0])))
    labels = sum(one.labels for one in encoded)

    with torch.no_grad():
        whole = NextToken(NextToken.Config())(model, batch)
    assert rows == [labels]
    assert whole.weight == labels
    rows.clear()
    with torch.no_grad():
        chunked = NextToken(NextToken.Config(head_rows=4))(model, batch)
    assert rows == [4] * (labels // 4) + ([labels % 4] if labels % 4 else [])
    assert float(chunked.total) == pytest.approx(float(whole.total), rel=1e-6)


def test_a_system_turn_of_its_own_takes_the_place_of_the_usual_one() -> None:
    usual = LLAVA.model_copy(update={"start": "system blue "})
    replaced = usual.model_copy(update={"system": "system {text} "})
    turns = (Turn("user", "what ?"), Turn("assistant", "blue"))
    own = Sample("", (CLIP,), (Turn("system", "red ball"), *turns))
    assert encode(own, replaced, words()).prefix == (ids("system red ball USER :"), 0)
    assert encode(Sample("", (CLIP,), turns), replaced, words()).prefix == (ids("system blue USER :"), 0)
    # A template that has no place for it reads it behind the usual one.
    spaced = Sample("", (CLIP,), (Turn("system", "red ball "), *turns))
    assert encode(spaced, usual, words()).prefix == (ids("system blue red ball USER :"), 0)
