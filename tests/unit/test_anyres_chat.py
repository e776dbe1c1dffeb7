"""A checkpoint's chat template becomes a prompt, or is left alone; it can do no harm."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, processors

from vidapt.hub._anyres import CHATML
from vidapt.hub._chat import prompt_of
from vidapt.hub._prompts import VICUNA
from vidapt.models.text import encode
from vidapt.nouns import Clip, Sample, Turn
from vidapt.recipe import Prompt

QWEN = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}"
    "{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ '\\n' + content['text'] }}{% endgeneration %}"
    "{% else %}{{ '\\n' + content['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""As OneVision's conversion has it: the line break belongs to the text, not to the role."""

USER = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}"
    "{% endfor %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""As LLaVA's conversions have it."""

SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nHelp.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<image>\n{% else %}{{ content['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Letters:
    """A tokenizer whose ids are code points."""

    def __call__(self, text: str, *, add_special_tokens: bool) -> SimpleNamespace:
        assert not add_special_tokens
        return SimpleNamespace(input_ids=[ord(letter) for letter in text])


def written(prompt: Prompt) -> str:
    """Two rounds about one clip, with `[clip]` for its tokens."""
    turns = (
        Turn("user", "Who?"),
        Turn("assistant", "Anna."),
        Turn("user", "Where?"),
        Turn("assistant", "Here."),
    )
    encoded = encode(Sample("1", (Clip("c", Path("c.mp4")),), turns), prompt, Letters())
    prefix = ["[clip]" if isinstance(p, int) else "".join(map(chr, p)) for p in encoded.prefix]
    return "".join(prefix) + "".join(map(chr, encoded.ids))


def template(folder: Path, text: str) -> Path:
    (folder / "chat_template.jinja").write_text(text)
    return folder


def test_a_template_with_a_system_text(tmp_path: Path) -> None:
    assert written(prompt_of(template(tmp_path, SYSTEM), VICUNA)) == (
        "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\n[clip]\nWho?<|im_end|>\n<|im_start|>assistant\n"
        "Anna.<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nHere.<|im_end|>"
    )


def test_the_line_break_behind_a_picture_may_stand_before_other_questions_too(tmp_path: Path) -> None:
    prompt = prompt_of(template(tmp_path, QWEN), VICUNA)
    assert prompt == Prompt(
        user="<|im_start|>user {text}",
        opening="<|im_end|><|im_start|>assistant\n",
        end="<|im_end|>",
        media="{media}\n",
    )
    assert written(prompt).startswith(
        "<|im_start|>user [clip]\nWho?<|im_end|><|im_start|>assistant\nAnna.<|im_end|>"
    )


def test_a_template_that_ends_no_answer_takes_the_familys_end(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "a": 1}, unk_token="a"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    prompt = prompt_of(template(tmp_path, USER), VICUNA)
    assert written(prompt) == "<s>USER: [clip]\nWho? ASSISTANT:Anna.</s>USER: Where? ASSISTANT:Here.</s>"


@pytest.mark.parametrize("name", ["chat_template.json", "processor_config.json", "tokenizer_config.json"])
def test_a_template_may_lie_beside_settings(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps({"chat_template": SYSTEM}))
    assert prompt_of(tmp_path, VICUNA).start == "<|im_start|>system\nHelp.<|im_end|>"


@pytest.mark.parametrize(
    "text",
    [
        "{{ messages[0]['content'] * 99999999999 }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ '%99999999999d' % 1 }}",
        "{{ 'a'.ljust(99999999999) }}",
        "{{ 'a' | center(99999999999) }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}a{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in messages %}" * 12 + "x" + "{% endfor %}" * 12,
        "{{ ''.__class__.__mro__ }}",
        "{{ lipsum(n=99999) }}",
        "{{ raise_exception('no') }}",
        "{% include '/etc/passwd' %}",
        "{% if %}",
        "{{ messages[7].content }}",
        "just words",
        "x" * 30_000,
    ],
)
def test_a_template_that_is_none_or_wants_too_much_is_left_alone(tmp_path: Path, text: Any) -> None:
    assert prompt_of(template(tmp_path, text), CHATML) is CHATML


def test_without_a_template_the_familys_prompt_is_taken(tmp_path: Path) -> None:
    assert prompt_of(tmp_path, CHATML) is CHATML
