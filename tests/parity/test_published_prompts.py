"""What a model reads of a conversation is, id by id, what its own processor gives it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import parity_tools as tools
import published_tools as published
import pytest
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from vidapt.hub import open_checkpoint
from vidapt.inference.engine import Engine
from vidapt.models.text import encode
from vidapt.nouns import Clip, Sample, Turn

LIST = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}"
    "{% endfor %}{% if message['role'] != 'assistant' %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}"
    "{% endfor %}{% else %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}"
    "{{ part['text'] + ' ' }}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""As the conversions of LLaVA-1.5 have it."""

LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA_MARKS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>")
QUESTION = "what is  the red ball doing?\n红球 🎱"


@pytest.fixture(scope="module")
def model() -> bytes:
    return published.pieces()


def folder(place: Path, tokenizer: PreTrainedTokenizerFast, **text: Any) -> tuple[Path, LlavaProcessor]:
    """A LLaVA with a tokenizer of its own, and its processor."""
    image = tokenizer.convert_tokens_to_ids("<image>")
    sizes = tools.text_config(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **text)
    tools.save(tools.llava(text_config=sizes, image_token_index=image), place)
    for old in ("tokenizer.json", "tokenizer_config.json"):
        (place / old).unlink()
    tokenizer.save_pretrained(place)
    processor = LlavaProcessor(
        tools.image_processor(),
        tokenizer,
        patch_size=tools.SIDE // tools.CELLS,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    return place, processor


def ours(place: Path, question: str, image: int) -> tuple[list[int], Engine]:
    """Ids of a question about a clip, with as many of `image` as there are visual tokens."""
    model, tokenizer, _ = open_checkpoint(place)
    sample = Sample("q", (Clip("c", Path("c")),), (Turn("user", question), Turn("assistant", "")))
    encoded = encode(sample, model.blueprint.prompt, tokenizer, open_answer=True)
    ids: list[int] = []
    for piece in encoded.prefix:
        ids += [image] * tools.CELLS**2 if isinstance(piece, int) else list(piece)
    return [*ids, *encoded.ids], Engine(model, tokenizer, "tiny")


def theirs(processor: LlavaProcessor, text: str, *, special: bool = True) -> list[int]:
    clip = tools.film(1, tools.SIDE, tools.SIDE)
    given = processor(images=[clip[0].numpy()], text=text, add_special_tokens=special)
    (ids,) = given["input_ids"]
    return list(ids)


@pytest.mark.parametrize("first_only", [False, True])
def test_a_template_of_parts(first_only: bool, model: bytes, tmp_path: Path) -> None:
    tokenizer = published.llama_tokenizer(model, tmp_path / "scratch", first_only=first_only)
    place, processor = folder(tmp_path / "llava", tokenizer)
    (place / "chat_template.json").write_text(json.dumps({"chat_template": LIST}))
    told = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(told, chat_template=LIST, add_generation_prompt=True)
    assert text == f"USER: <image>\n{QUESTION} ASSISTANT:"
    image = tokenizer.convert_tokens_to_ids("<image>")
    found, engine = ours(place, QUESTION, image)
    assert found == theirs(processor, text)
    assert engine.stops == (2,)


@pytest.mark.parametrize("first_only", [False, True])
def test_further_turns(first_only: bool, model: bytes, tmp_path: Path) -> None:
    """An answer and the question behind it, as they stand in one line."""
    tokenizer = published.llama_tokenizer(model, tmp_path / "scratch", first_only=first_only)
    place, processor = folder(tmp_path / "llava", tokenizer)
    (place / "chat_template.json").write_text(json.dumps({"chat_template": LIST}))
    opened, own, _ = open_checkpoint(place)
    turns = (
        Turn("user", "what is it"),
        Turn("assistant", "a red ball"),
        Turn("user", "then"),
        Turn("assistant", ""),
    )
    encoded = encode(
        Sample("q", (Clip("c", Path("c")),), turns), opened.blueprint.prompt, own, open_answer=True
    )
    text = "USER: <image>\nwhat is it ASSISTANT: a red ball</s>USER: then ASSISTANT:"
    expected = theirs(processor, text)
    image = tokenizer.convert_tokens_to_ids("<image>")
    assert list(encoded.ids) == expected[len(expected) - expected[::-1].index(image) :]


@pytest.mark.parametrize("vocabulary", [None, 128_256])
def test_a_template_of_text_in_llavas_class(vocabulary: int | None, tmp_path: Path) -> None:
    """It once became Python's word for a list, and the model, by its vocabulary, Yi."""
    tokenizer = published.byte_tokenizer("<|begin_of_text|>", "<|eot_id|>", LLAMA_MARKS)
    tokenizer.chat_template = LLAMA_3
    place, processor = folder(tmp_path / "llava", tokenizer)
    if vocabulary is not None:  # without its template: the marks alone tell
        (place / "chat_template.jinja").unlink()
    told = [{"role": "user", "content": f"<image>\n{QUESTION}"}]
    text = tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
    image = tokenizer.convert_tokens_to_ids("<image>")
    found, engine = ours(place, QUESTION, image)
    if vocabulary is not None:
        system = engine.model.blueprint.prompt.start.removeprefix("<|begin_of_text|>")
        text = text.replace("<|begin_of_text|>", f"<|begin_of_text|>{system}")
    assert found == theirs(processor, text, special=False)
    assert "type" not in tokenizer.decode(found)
    assert engine.stops == (tokenizer.convert_tokens_to_ids("<|eot_id|>"),)


@pytest.mark.parametrize("end", ["\n", "###", "'}]", r"<\s> ", " ASSISTANT"])
def test_words_end_no_answer(end: str, model: bytes, tmp_path: Path) -> None:
    """The first piece of any end once did, and many words begin with it."""
    tokenizer = published.llama_tokenizer(model, tmp_path / "scratch", first_only=False)
    place, _ = folder(tmp_path / "llava", tokenizer)
    opened, own, _ = open_checkpoint(
        place,
        edit=lambda plan: plan.model_copy(update={"prompt": plan.prompt.model_copy(update={"end": end})}),
    )
    assert Engine(opened, own, "tiny").stops == (2,)


def sources(places: Sequence[Path]) -> list[str]:
    return [open_checkpoint(place)[2].prompt for place in places]


def test_the_report_says_where_the_prompt_comes_from(model: bytes, tmp_path: Path) -> None:
    tokenizer = published.llama_tokenizer(model, tmp_path / "scratch", first_only=False)
    plain, _ = folder(tmp_path / "plain", tokenizer)
    own, _ = folder(tmp_path / "own", tokenizer)
    (own / "chat_template.json").write_text(json.dumps({"chat_template": LIST}))
    odd, _ = folder(tmp_path / "odd", tokenizer)
    (odd / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    assert sources([plain, own, odd]) == [
        "the way of writing known for such language models (vicuna)",
        "the chat template in chat_template.json",
        "the way of writing known for such language models (vicuna); "
        "the chat template in chat_template.jinja is not made of turns",
    ]
    report = open_checkpoint(own)[2]
    assert "; prompt: the chat template in chat_template.json" in report.line()
    assert report.to_dict()["prompt"] == report.prompt
