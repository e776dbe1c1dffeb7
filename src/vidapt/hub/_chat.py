"""A checkpoint's own chat template, as the parts of a prompt.

Source: the templates that transformers keeps in `processor_config.json`, `chat_template.json`,
`chat_template.jinja` or `tokenizer_config.json`, in the order in which its processors prefer them. A template
is a program; here it is run on a conversation of marked words, and what stands between them is the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vidapt.hub._files import read_json_if_there
from vidapt.hub._template import FAILURES, LONGEST, render
from vidapt.recipe import Prompt

_QUESTION, _ANSWER, _NEXT = "qQ1Qq", "aA1Aa", "qQ2Qq"
_PLACEHOLDER = r"<[^<>]*(?:image|video)[^<>]*>"

JINJA = "chat_template.jinja"

EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
"""What templates of models that can think write in front of an answer that was not thought about; some leave
it out in front of answers that have been asked about further."""

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Marks:
    """What a template is run with, and its output understood by.

    Attributes:
        bos: Text of the mark that begins a text, empty without one.
        eos: Text of the mark that ends one.
        media: Text of the checkpoint's own mark for an image, if it has one.
        known: Texts of all marks that the tokenizer keeps whole.
    """

    bos: str = ""
    eos: str = ""
    media: str | None = None
    known: frozenset[str] = frozenset()


class Template(NamedTuple):
    """A template and the file it stands in."""

    text: str
    file: str


def own_template(folder: Path) -> Template | None:
    """The chat template of a checkpoint; None if it has none, or none of a sensible length.

    Raises:
        CheckpointError: If a file that may hold one is damaged.
    """
    for name in ("processor_config.json", "chat_template.json", JINJA, "tokenizer_config.json"):
        text = _read(folder / name)
        if text is not None:
            return Template(text, name) if len(text) <= LONGEST else None
    return None


def prompt_of(template: str, default: Prompt, marks: Marks) -> Prompt | None:
    """The prompt that a chat template writes.

    Args:
        template: See `own_template`.
        default: Says what ends an answer, if the template does so with nothing or a space, and what stands
            around a clip, if it leaves that to the user.
        marks: Of the checkpoint's tokenizer.

    Returns:
        None if it is no template, wants too much, or is not made of turns.
    """
    for write in (_parts_written, _text_written):
        try:
            prompt = write(template, default, marks)
        except FAILURES:
            continue
        if prompt is not None:
            return _completed(prompt, default, marks)
    return None


def _read(path: Path) -> str | None:
    if path.suffix == ".jinja":
        # Four bytes a letter at most; a longer file is not read.
        small = path.is_file() and path.stat().st_size <= 4 * LONGEST
        return path.read_text(encoding="utf-8", errors="replace") if small else None
    found = (read_json_if_there(path) or {}).get("chat_template")
    if isinstance(found, list):  # several by name, as transformers of 2024 wrote them
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


class _Written(NamedTuple):
    """What a template writes: a question, a question about a picture, its answer, and a further question."""

    blind: str
    asked: str
    answered: str
    again: str


def _parts_written(template: str, default: Prompt, marks: Marks) -> Prompt | None:
    """The prompt of a template that takes messages as lists of parts."""
    question, answer, further = _part(_QUESTION), _part(_ANSWER), _part(_NEXT)
    written = _written(template, marks, [question], [{"type": "image"}, question], [answer], [further])
    if any(repr(part) in text for part in (question, answer, further) for text in written):
        return None  # it takes messages as text, and printed Python
    return _prompt(written, default, marks)


def _text_written(template: str, default: Prompt, marks: Marks) -> Prompt | None:
    """The prompt of a template that takes messages as text, as those of language models do."""
    written = _written(template, marks, _QUESTION, _QUESTION, _ANSWER, _NEXT)
    if marks.media is not None and marks.media in written.asked:
        return _with_own_media(written, default, marks)
    prompt = _prompt(written, default, marks)
    return None if prompt is None else prompt.model_copy(update={"media": default.media})


def _written(template: str, marks: Marks, blind: Any, sighted: Any, answer: Any, further: Any) -> _Written:
    turns = [_turn("user", sighted), _turn("assistant", answer), _turn("user", further)]
    asked: list[tuple[Sequence[Message], bool]] = [
        ([_turn("user", blind)], True),
        (turns[:1], True),
        (turns[:2], False),
        (turns, True),
    ]
    given = {"bos_token": marks.bos, "eos_token": marks.eos, "enable_thinking": False}
    each = [{"messages": messages, "add_generation_prompt": more} for messages, more in asked]
    return _Written(*render(template, given, each))


def _turn(role: str, content: Any) -> Message:
    return {"role": role, "content": content}


def _part(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def _with_own_media(written: _Written, default: Prompt, marks: Marks) -> Prompt | None:
    """The prompt of a template that writes the mark of an image into the first question by itself."""
    assert marks.media is not None
    user = written.again.split(_ANSWER)[-1].split(_NEXT)[0]
    front = written.asked.split(_QUESTION)[0]
    # What stands between a turn's beginning and the question belongs to the image.
    turn = next((user[begin:] for begin in range(len(user)) if user[begin:] in front), "")
    around = front.rpartition(turn)[2] if turn else ""
    if around.count(marks.media) != 1:
        return None
    blind = written.blind.replace(around, "", 1)
    prompt = _prompt(written._replace(blind=blind, asked=blind), default, marks)
    if prompt is None:
        return None
    return prompt.model_copy(update={"media": around.replace(marks.media, "{media}")})


def _prompt(written: _Written, default: Prompt, marks: Marks) -> Prompt | None:
    """The prompt's parts, by what stands between the marked words; None if it is not made of them."""
    blind, asked, answered, again = written
    counts = [blind.count(_QUESTION), asked.count(_QUESTION), answered.count(_ANSWER), again.count(_NEXT)]
    told, first = (text.replace(EMPTY_THOUGHT, "") for text in (again, answered))
    if counts != [1, 1, 1, 1] or not told.startswith(first.rstrip()):
        return None
    before, (sighted, opening) = blind.split(_QUESTION)[0], asked.split(_QUESTION)
    media, gap = _media(before, sighted, marks)
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
        end=end,
        media=media if media is not None else default.media,
    )


def _completed(prompt: Prompt, default: Prompt, marks: Marks) -> Prompt:
    """With an end that can be told from words, which a template may leave out or misspell."""
    ends = (prompt.end, default.end, marks.eos)
    known = tuple(marks.known)
    end = next((end for end in ends if end.strip().startswith(known)), prompt.end.strip() or default.end)
    system = default.system if prompt.start == default.start else None
    return prompt.model_copy(update={"end": end, "system": system})


def _media(before: str, sighted: str, marks: Marks) -> tuple[str | None, str]:
    """What is written around a picture, and which part of that is written before other questions too."""
    start = _common(before, sighted)
    end = _common(before[start:][::-1], sighted[start:][::-1])
    gap = before[len(before) - end :]
    known = _PLACEHOLDER if marks.media is None else f"{_PLACEHOLDER}|{re.escape(marks.media)}"
    around, found = re.subn(known, "{media}", sighted[start:])
    return (around, gap) if found == 1 else (None, "")


def _common(one: str, other: str) -> int:
    """How many letters two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
