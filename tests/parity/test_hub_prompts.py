"""The families' templates read like the authors' own conversations."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from vidapt.errors import CheckpointError
from vidapt.hub import qwen2_vl
from vidapt.hub._chat import prompt_of
from vidapt.hub._prompts import MISTRAL, PLLAVA, VICUNA, YI, prompt_for
from vidapt.models.text import encode
from vidapt.nouns import Clip, Sample, Turn
from vidapt.recipe import Prompt

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


class Letters:
    """A tokenizer whose ids are code points.

    Like SentencePiece it writes a space in front of a stretch of text (but not behind a control token).
    """

    def __init__(self, space: str = "") -> None:
        self.space = space

    def __call__(self, text: str, *, add_special_tokens: bool) -> SimpleNamespace:
        assert not add_special_tokens
        space = self.space if text[0].isalpha() else ""
        return SimpleNamespace(input_ids=[ord(letter) for letter in space + text])


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


def test_the_template_follows_the_language_model() -> None:
    here = Path("somewhere")
    assert prompt_for({"model_type": "llama", "vocab_size": 32064}, here) is VICUNA
    assert prompt_for({"model_type": "llama", "vocab_size": 64064}, here) is YI
    assert prompt_for({"model_type": "mistral"}, here) is MISTRAL
    assert prompt_for({"model_type": "llama", "vocab_size": 32064}, here, vicuna=PLLAVA) is PLLAVA
    with pytest.raises(CheckpointError, match="falcon"):
        prompt_for({"model_type": "falcon"}, here)


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
    own = prompt_of(tmp_path, VICUNA)
    assert (own.start, own.user, own.opening, own.media) == ("", "USER: {text}", " ASSISTANT:", "{media}\n")
    assert prompt_of(tmp_path / "absent", VICUNA) == VICUNA


def test_qwens_own_template_is_what_the_family_writes(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATES["qwen2_vl"]}))
    own, family = prompt_of(tmp_path, qwen2_vl.PROMPT), qwen2_vl.PROMPT

    def read(prompt: Prompt) -> str:
        return prompt.start + prompt.user + prompt.opening + prompt.answer + prompt.end

    assert read(own) == read(family)
    assert (own.media, own.end, own.system) == (family.media, family.end, family.system)
