"""A checkpoint's own chat template, as the parts of a prompt.

Source: the templates that transformers keeps in `chat_template.jinja`, `chat_template.json`, or beside the
settings of a tokenizer or processor. A template is a program; here it is run once on a conversation of marked
words, and the words between the marks are the prompt. It comes from outside, so only what published templates
use may be called in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from vidapt.hub._files import read_json_if_there
from vidapt.recipe import Prompt

_LONGEST = 20_000
"""Letters of a template that is read; published ones have up to six thousand."""

_FILTERS = (
    "first",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "replace",
    "selectattr",
    "trim",
    "upper",
)
_METHODS = (
    *("capitalize", "endswith", "get", "items", "lower", "lstrip"),
    *("rstrip", "split", "startswith", "strip", "title", "upper"),
)
_DEEPEST = 4
"""Loops within loops."""

_QUESTION, _ANSWER, _NEXT = "qQ1Qq", "aA1Aa", "qQ2Qq"
_PLACEHOLDER = re.compile(r"<[^<>]*(?:image|video)[^<>]*>")

Message = Mapping[str, Any]


def prompt_of(folder: Path, default: Prompt) -> Prompt:
    """The prompt a checkpoint's chat template writes.

    Args:
        folder: The checkpoint.
        default: The family's prompt; taken where there is no template, or one that is not made of turns. What
            ends an answer is also taken from it, if the template ends answers with nothing or a space.
    """
    template = _template(folder)
    if template is None or len(template) > _LONGEST:
        return default
    try:
        written = _written(template)
    except (TemplateError, TypeError, KeyError, ValueError, AttributeError, RecursionError):
        return default
    prompt = None if written is None else _parts(*written, default)
    if prompt is None:
        return default
    if prompt.start == default.start:
        prompt = prompt.model_copy(update={"system": default.system})
    first = _first_token(folder)
    if prompt.start.startswith(first):
        return prompt
    return prompt.model_copy(update={"start": first + prompt.start})


def _template(folder: Path) -> str | None:
    plain = folder / "chat_template.jinja"
    if plain.is_file() and plain.stat().st_size <= 4 * _LONGEST:
        return plain.read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        found = (read_json_if_there(folder / name) or {}).get("chat_template")
        if isinstance(found, str):
            return found
    return None


def _first_token(folder: Path) -> str:
    """What a tokenizer writes in front of every text, such as <s>; templates leave it out."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return ""
    tokens: list[str] = Tokenizer.from_file(os.fspath(path)).encode("").tokens
    return "".join(tokens[:1])


class _Generation(Extension):
    """`{% generation %}`, which marks an answer for training; its content is written as it is."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Fenced(ImmutableSandboxedEnvironment):
    """No sizes beyond those of the conversation: no products, no ranges, no padding of strings."""

    intercepted_binops = frozenset(("*", "**", "%", "//"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> NoReturn:
        raise SecurityError(f"{operator} is not used by published templates")

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if callable(value) and not isinstance(obj, Mapping) and attr not in _METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)


def _fenced() -> _Fenced:
    environment = _Fenced(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.globals = {"namespace": environment.globals["namespace"], "raise_exception": _refuse}
    environment.filters = {name: environment.filters[name] for name in _FILTERS}
    return environment


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _written(template: str) -> tuple[str, str, str, str] | None:
    """The same conversation, each time longer: asked without and with a picture, answered, asked again."""
    environment = _fenced()
    parsed = environment.parse(template)
    if _depth(parsed) > _DEEPEST or any(parsed.find_all((nodes.Macro, nodes.Include, nodes.Import))):
        return None
    rendered = environment.from_string(template)
    seen = [{"type": "image"}, {"type": "text", "text": _QUESTION}]
    turns = [_turn("user", seen), _turn("assistant", _text(_ANSWER)), _turn("user", _text(_NEXT))]

    def write(messages: Sequence[Message], more: bool) -> str:
        return rendered.render(messages=messages, add_generation_prompt=more)

    blind = write([_turn("user", _text(_QUESTION))], True)
    return blind, write(turns[:1], True), write(turns[:2], False), write(turns, True)


def _depth(node: nodes.Node, depth: int = 0) -> int:
    depth += isinstance(node, nodes.For)
    return max((_depth(child, depth) for child in node.iter_child_nodes()), default=depth)


def _turn(role: str, content: Any) -> Message:
    return {"role": role, "content": content}


def _text(words: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": words}]


def _parts(blind: str, asked: str, answered: str, again: str, default: Prompt) -> Prompt | None:
    """The prompt's parts, by what stands between the marks; None if it is not made of them."""
    counts = [blind.count(_QUESTION), asked.count(_QUESTION), answered.count(_ANSWER), again.count(_NEXT)]
    if counts != [1, 1, 1, 1] or not again.startswith(answered.rstrip()):
        return None
    before, (sighted, opening) = blind.split(_QUESTION)[0], asked.split(_QUESTION)
    media, gap = _media(before, sighted)
    written_end = answered.split(_ANSWER)[1]
    between = again.split(_ANSWER)[1].split(_NEXT)[0]
    for end in (written_end.rstrip(), written_end):
        turn = between[len(end) :] if between.startswith(end) else None
        if turn is not None and before.endswith(turn) and turn.endswith(gap):
            break
    else:
        return None
    if answered.startswith(asked):
        # What always stands in front of an answer is not the model's to write.
        opening += answered[len(asked) :].split(_ANSWER)[0].rstrip(" ")
    return Prompt(
        start=before.removesuffix(turn),
        user=turn.removesuffix(gap) + "{text}",
        opening=opening,
        end=end if end.strip() else default.end,
        media=media if media is not None else default.media,
    )


def _media(before: str, sighted: str) -> tuple[str | None, str]:
    """What is written around a picture, and which part of that is written before other questions too."""
    start = _common(before, sighted)
    end = _common(before[start:][::-1], sighted[start:][::-1])
    gap = before[len(before) - end :]
    around, found = _PLACEHOLDER.subn("{media}", sighted[start:])
    return (around, gap) if found == 1 else (None, "")


def _common(one: str, other: str) -> int:
    """How many letters two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
