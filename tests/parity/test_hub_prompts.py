"""The families' templates read like the authors' own conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from letters import Letters
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from vidapt.errors import CheckpointError
from vidapt.hub import qwen2_vl
from vidapt.hub._chat import Marks, prompt_of
from vidapt.hub._prompts import (
    CHATML,
    GEMMA,
    LLAMA_3,
    MISTRAL,
    PHI_3,
    PLLAVA,
    VICUNA,
    YI,
    Habit,
    prompt_for,
)
from vidapt.models.text import encode
from vidapt.nouns import Clip, Sample, Turn
from vidapt.recipe import Prompt

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


def written(prompt: Prompt, space: str = "") -> str:
    """What a model reads of two rounds about one clip, with `[clip]` for its tokens."""
    turns = (
        Turn("user", "Who?"),
        Turn("assistant", "Anna."),
        Turn("user", "Where?"),
        Turn("assistant", "Here."),
    )
    sample = Sample(id="1", media=(Clip("c", Path("c.mp4")),), turns=turns)
    encoded = encode(sample, prompt, Letters(space))
    prefix = ["[clip]" if isinstance(p, int) else "".join(map(chr, p)) for p in encoded.prefix]
    return "".join(prefix) + "".join(map(chr, encoded.ids))


def test_vicuna_reads_as_the_authors_vicuna_v1() -> None:
    assert written(VICUNA, space=" ") == (
        f"<s>{SYSTEM}USER: [clip]\nWho? ASSISTANT: Anna.</s> USER: Where? ASSISTANT: Here.</s>"
    )


def test_pllava_reads_like_its_benchmarks() -> None:
    assert written(PLLAVA, space=" ") == (
        "<s>USER: [clip]\nWho? ASSISTANT: Anna.</s> USER: Where? ASSISTANT: Here.</s>"
    )


def test_yi_reads_as_the_authors_chatml() -> None:
    assert written(YI) == (
        "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n[clip]\nWho?<|im_end|>"
        "<|im_start|>assistant\nAnna.<|im_end|><|im_start|>user\nWhere?<|im_end|>"
        "<|im_start|>assistant\nHere.<|im_end|>"
    )


def test_mistral_reads_as_its_instruct_format() -> None:
    assert written(MISTRAL, space=" ") == (
        "<s>[INST] [clip]\nWho? [/INST] Anna.</s>[INST] Where? [/INST] Here.</s>"
    )


def marked(*marks: str) -> PreTrainedTokenizerFast:
    """A tokenizer that keeps some marks whole."""
    words = Tokenizer(models.WordLevel({"w": 0, "</s>": 1}, unk_token="w"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w", eos_token="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    return tokenizer


@pytest.mark.parametrize(
    ("kind", "marks", "expected"),
    [
        ("llama", (), VICUNA),
        ("llama", ("<|im_start|>", "<|im_end|>"), YI),
        ("llama", ("<|start_header_id|>", "<|eot_id|>"), LLAMA_3),
        ("mistral", (), MISTRAL),
        ("mistral", ("<|im_start|>", "<|im_end|>"), CHATML),
        ("qwen2", (), CHATML),
        ("phi3", (), PHI_3),
        ("gemma", (), GEMMA),
        ("falcon", ("<start_of_turn>",), GEMMA),
    ],
)
def test_the_way_of_writing_follows_the_language_models_marks(
    kind: str, marks: tuple[str, ...], expected: Prompt, tmp_path: Path
) -> None:
    # Vocabularies of 64,000 and more are Yi's and Llama 3's alike: no number tells them apart.
    found = prompt_for({"model_type": kind, "vocab_size": 128_256}, tmp_path, marked(*marks))
    assert found.prompt is expected
    assert "known for such language models" in found.source


def test_a_family_may_write_its_own_way(tmp_path: Path) -> None:
    habit = Habit(own={"vicuna": PLLAVA})
    assert prompt_for({"model_type": "llama"}, tmp_path, marked(), habit).prompt is PLLAVA
    assert prompt_for({"model_type": "mistral"}, tmp_path, marked(), habit).prompt is MISTRAL


def test_an_unknown_language_model_without_a_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"falcon(.|\n)*chat_template\.jinja"):
        prompt_for({"model_type": "falcon"}, tmp_path, marked())


TEMPLATES = {
    "llava": (
        "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
        "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}"
        "{% endfor %}"
        "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    ),
    "qwen2_vl": (
        "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
        "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
}


def test_llavas_own_template_goes_before_the_authors(tmp_path: Path) -> None:
    """What the hub's LLaVA-1.5 ships with has no system sentence."""
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATES["llava"]}))
    found = prompt_for({"model_type": "llama"}, tmp_path, marked())
    own = found.prompt
    assert (own.start, own.user, own.opening, own.media) == ("", "USER: {text}", " ASSISTANT:", "{media}\n")
    assert own.end == "</s>"
    assert found.source == "the chat template in chat_template.json"


def test_qwens_own_template_is_what_the_family_writes() -> None:
    family = qwen2_vl.PROMPT
    own = prompt_of(TEMPLATES["qwen2_vl"], family, Marks(known=frozenset({"<|im_end|>"})))
    assert own is not None

    def read(prompt: Prompt) -> str:
        return prompt.start + prompt.user + prompt.opening + prompt.answer + prompt.end

    assert read(own) == read(family)
    assert (own.media, own.end, own.system) == (family.media, family.end, family.system)
