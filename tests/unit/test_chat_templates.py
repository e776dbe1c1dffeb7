"""A checkpoint's chat template becomes a prompt, or is left alone; it can do no harm."""

from __future__ import annotations

import json
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from letters import Letters

from vidapt.hub._chat import Marks, own_template, prompt_of
from vidapt.hub._prompts import CHATML, LLAMA_3, MISTRAL, PHI_3, VICUNA
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


LLAMA = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
"""As Llama 3's instruct models have it: content is text, and of a list it prints what Python calls it."""

CAPTIONER = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% if message['role'] == 'user' and loop.first %}"
    "{{ '<|reserved_special_token_70|><|reserved_special_token_69|><|reserved_special_token_71|>' }}"
    "{% endif %}"
    "{{ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
"""As captioners on Llama 3.1 have it: the image's mark, a reserved one, stands in the first question."""

PHI = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}"
    "{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}"
    "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}"
    "{% endfor %}"
)
"""As Phi-3's have it."""

INSTRUCT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% endif %}{% endfor %}"
)
"""As Mistral's instruct models have it."""

MISSPELT = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}"
    "{% endfor %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] }}{% endfor %}{{' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    r"{{ ' ' + message['content'][0]['text'] + '<\s> '}}{% endif %}{% endfor %}"
)
"""As llava-v1.6-mistral had it in 2024: the mark that ends an answer is none."""

LLAMA_MARKS = Marks(
    bos="<|begin_of_text|>",
    eos="<|eot_id|>",
    media="<|reserved_special_token_69|>",
    known=frozenset(
        {"<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|reserved_special_token_69|>"}
    ),
)
MARKS = Marks("<s>", "</s>", "<image>", frozenset({"<s>", "</s>", "<|im_end|>", "<|end|>", "<image>"}))


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


def test_a_template_with_a_system_text() -> None:
    prompt = prompt_of(SYSTEM, VICUNA, MARKS)
    assert prompt is not None
    assert written(prompt) == (
        "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\n[clip]\nWho?<|im_end|>\n<|im_start|>assistant\n"
        "Anna.<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nHere.<|im_end|>"
    )


def test_the_line_break_behind_a_picture_may_stand_before_other_questions_too() -> None:
    prompt = prompt_of(QWEN, VICUNA, MARKS)
    assert prompt == Prompt(
        user="<|im_start|>user {text}",
        opening="<|im_end|><|im_start|>assistant\n",
        end="<|im_end|>",
        media="{media}\n",
    )
    assert written(prompt).startswith(
        "<|im_start|>user [clip]\nWho?<|im_end|><|im_start|>assistant\nAnna.<|im_end|>"
    )


def test_a_template_that_ends_no_answer_takes_the_familys_end() -> None:
    prompt = prompt_of(USER, VICUNA, MARKS)
    assert prompt is not None
    assert written(prompt) == "USER: [clip]\nWho? ASSISTANT:Anna.</s>USER: Where? ASSISTANT:Here.</s>"


def test_a_misspelt_end_gives_way_to_the_familys() -> None:
    prompt = prompt_of(MISSPELT, MISTRAL, MARKS)
    assert prompt is not None
    assert prompt.end == "</s>"
    assert written(prompt) == "[INST] [clip]\nWho? [/INST]Anna.</s>[INST] Where? [/INST]Here.</s>"


def test_a_template_of_text_is_read_as_one() -> None:
    """Its output once held `[{'type': 'text', ...`, and answers ended with what closes that."""
    prompt = prompt_of(LLAMA, LLAMA_3, LLAMA_MARKS)
    assert prompt is not None
    assert written(prompt) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n[clip]\nWho?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nAnna.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhere?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHere.<|eot_id|>"
    )
    assert "type" not in prompt.model_dump_json()


def test_a_template_of_text_may_write_the_images_mark_itself() -> None:
    prompt = prompt_of(CAPTIONER, LLAMA_3, LLAMA_MARKS)
    assert prompt is not None
    assert prompt.media == "<|reserved_special_token_70|>{media}<|reserved_special_token_71|>"
    assert prompt.user == "<|start_header_id|>user<|end_header_id|>\n\n{text}"
    assert prompt.end == "<|eot_id|>"
    assert written(prompt).startswith(
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
        "<|reserved_special_token_70|>[clip]<|reserved_special_token_71|>Who?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nAnna.<|eot_id|>"
    )


def test_phis_template_heads_the_answer_behind_every_question() -> None:
    prompt = prompt_of(PHI, PHI_3, MARKS)
    assert prompt is not None
    assert written(prompt) == (
        "<s><|user|>\n[clip]\nWho?<|end|>\n<|assistant|>\nAnna.<|end|>"
        "\n<|user|>\nWhere?<|end|>\n<|assistant|>\nHere.<|end|>\n"
    )


def test_the_marks_of_beginning_and_end_are_given_to_a_template() -> None:
    prompt = prompt_of(INSTRUCT, MISTRAL, MARKS)
    assert prompt is not None
    assert written(prompt) == "<s>[INST] [clip]\nWho? [/INST]Anna.</s>[INST] Where? [/INST]Here.</s>"


def template(folder: Path, name: str, text: Any) -> None:
    content = text if name.endswith(".jinja") else json.dumps({"chat_template": text})
    (folder / name).write_text(content)


def test_files_are_preferred_as_transformers_prefers_them(tmp_path: Path) -> None:
    assert own_template(tmp_path) is None
    names = ["tokenizer_config.json", "chat_template.jinja", "chat_template.json", "processor_config.json"]
    for name in names:
        template(tmp_path, name, f"of {name}")
        assert own_template(tmp_path) == (f"of {name}", name)


def test_of_several_templates_the_default_one_is_taken(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "talk"}]
    template(tmp_path, "tokenizer_config.json", several)
    assert own_template(tmp_path) == ("talk", "tokenizer_config.json")


def test_a_template_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "chat_template.jinja").open("wb") as file:
        file.truncate(2**33)
    assert own_template(tmp_path) is None


LONG = "x" * 4000


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
        f"{{% for a in '{LONG}' %}}{{% for b in '{LONG}' %}}{{% endfor %}}{{% endfor %}}",
        f"{{% set n=namespace(x='ab') %}}{{% for a in '{LONG}' %}}{{% set n.x = n.x ~ n.x %}}{{% endfor %}}",
        f"{{% set n=namespace(x='ab') %}}{{% for a in '{LONG}' %}}{{% set n.x = n.x + n.x %}}{{% endfor %}}",
        f"{{% set n = namespace(x=[1]) %}}{{% for a in '{LONG}' %}}{{% set n.x = n.x + n.x %}}{{% endfor %}}",
        "{% macro m(n) %}{% if n %}{{ m(n[1:]) }}{{ m(n[1:]) }}{% endif %}{% endmacro %}{{ m('"
        + "x" * 99
        + "') }}",
        f"{{{{ '{LONG}' | replace('x', '{LONG}') }}}}",
        f"{{{{ '{LONG}' | join('{LONG}') }}}}",
        f"{{{{ '{LONG}' | map('replace', 'x', '{LONG}') | list }}}}",
        "{{ [[1]] | tojson(indent=99999999) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ lipsum(n=99999) }}",
        "{{ raise_exception('no') }}",
        "{% include '/etc/passwd' %}",
        "{% if %}",
        "{{ messages[7].content }}",
        "just words",
    ],
)
def test_a_template_that_is_none_or_wants_too_much_is_left_alone(text: str) -> None:
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert prompt_of(text, CHATML, MARKS) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started < 200_000  # kilobytes


PLAIN_TURNS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

SHARED = "{% set x = [1, 2] %}" + "{% set x = [x, x] %}" * 40
"""A list that takes no room until it is written, compared or hashed."""

GREEDY = {
    "a text within a text": "{% set x = 'aaaa' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
    "a macro's text": "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set y = 'aaaa' %}"
    + "{% set y = m(y) %}" * 40,
    "lists written": SHARED + "{{ x }}",
    "lists as JSON": SHARED + "{{ x | tojson }}",
    "lists joined": SHARED + "{{ x | join }}",
    "lists compared": SHARED + SHARED.replace("x", "y") + "{{ x == y }}",
    "lists in lists": SHARED + SHARED.replace("x", "y") + "{{ x in [y] }}",
    "tuples as keys": SHARED.replace("[", "(").replace("]", ")") + "{{ {x: 1} }}",
    "dictionaries": "{% set x = {'a': 1} %}" + "{% set x = {'a': x, 'b': x} %}" * 40 + "{{ x }}",
    "arguments": "{% macro m() %}{{ m(varargs, varargs) }}{% endmacro %}{{ m(1, 2) }}",
    "namespaces": "{% set a = namespace() %}{% set b = namespace(a=[a, a]) %}{{ b }}",
    "a wide format": "{% set x = '{:>100000000}'.format(1) %}",
    "many nested loops": "{% for a in messages %}" * 30 + "{% endfor %}" * 30,
    "half of a pair": "{{ '\\ud800' }}",
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_template_that_wants_too_much_is_none(name: str) -> None:
    tracemalloc.start()
    try:
        assert prompt_of(GREEDY[name] + PLAIN_TURNS, VICUNA, MARKS) is None
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_what_published_templates_do_is_not_too_much() -> None:
    before = (
        "{% set ns = namespace(first=true, words=[]) %}{% set pairs = [('a', 1), ('b', 2)] %}"
        "{% macro show(text, ns) %}{{ text | trim }}{% endmacro %}"
        "{% set shown %}{{ show(' a ', ns) }}{% endset %}"
        "{% for name, number in pairs %}{% set ns.words = ns.words + [name ~ number] %}{% endfor %}"
        "{{ shown }}{{ ns.words | join(',') }}{{ {'a': [1, 2]} | tojson }}"
    )
    prompt = prompt_of(before + PLAIN_TURNS, VICUNA, MARKS)
    assert prompt is not None
    assert prompt.start == 'aa1,b2{"a": [1, 2]}'
