"""Text as token ids, in which only a template makes marks: what a label or a user writes is words.

A tokenizer makes one token of every `</s>` it finds, also of one that somebody wrote into an answer, and a
model that learns from it learns to stop in the middle. Such a mark is cut apart here, behind its first
letter, so that both halves are written with ordinary tokens. All other text keeps its ids.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from vidapt.errors import FormatError
from vidapt.recipe import Prompt

_BLANK = " \t\r\n▁"
"""Added tokens made of nothing else are words: some tokenizers keep runs of spaces whole."""

_MOST = 1000
"""Marks written in one stretch of text; each is cut apart by itself."""

_LINE = "\n"
"""Behind a line break no tokenizer writes a space of its own, and no token spans it and what follows."""


class Run(NamedTuple):
    """A stretch of text, whether a label or a user said it and not a template, and which answer it is of."""

    text: str
    said: bool
    turn: int = -1


class Token(NamedTuple):
    """A token, and the letters of a text that it is made of."""

    id: int
    start: int
    end: int


@functools.lru_cache(maxsize=8)
def marks_of(tokenizer: Any, prompt: Prompt | None = None) -> frozenset[int]:
    """Ids that no words may become: special tokens, and whatever a template is written with.

    Args:
        tokenizer: A transformers tokenizer.
        prompt: The template, if there is one.
    """
    fields = [] if prompt is None else [str(text) for text in prompt.model_dump().values() if text]
    special = set(tokenizer.all_special_ids)
    added = {
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if (token.special or any(token.content in text for text in fields)) and token.content.strip(_BLANK)
    }
    return frozenset(special | added)


def spelled(
    runs: Sequence[Run], tokenizer: Any, marks: frozenset[int], where: str, *, begins: bool = True
) -> tuple[int, ...]:
    """Ids of a stretch of text, as they are within its whole line.

    SentencePiece writes a space in front of a text, and some tokenizers also in front of what follows a mark.

    Args:
        runs: The text, in order.
        tokenizer: A transformers tokenizer of the `tokenizers` library.
        marks: See `marks_of`.
        where: What the text belongs to, for errors.
        begins: Whether a text begins: the line, or an answer, whose space is left to the tokenizer. Other
            stretches follow a mark: that of a clip, or that of an answer's end.

    Raises:
        FormatError: If a mark cannot be written in words, or there are too many.
    """
    return tuple(token.id for token in spelled_tokens(runs, tokenizer, marks, where, begins=begins))


def spelled_tokens(
    runs: Sequence[Run], tokenizer: Any, marks: frozenset[int], where: str, *, begins: bool = True
) -> list[Token]:
    """The same with the letters of each token, counted through all runs."""
    text = "".join(run.text for run in runs)
    return list(_spelled(text, list(_said(runs)), _Writer(tokenizer, marks), where, begins, within=False))


def _said(runs: Sequence[Run]) -> Iterator[tuple[int, int]]:
    at = 0
    for run in runs:
        if run.said and run.text:
            yield at, at + len(run.text)
        at += len(run.text)


def _spelled(
    text: str, said: Sequence[tuple[int, int]], writer: _Writer, where: str, begins: bool, *, within: bool
) -> Iterator[Token]:
    """Tokens of a text whose stretches `said` make no marks; `within` a mark that was cut apart it begins."""
    tokens = writer.within(text) if within else writer.written(text, begins=begins)
    cuts = sorted({_cut(text, mark, where) for mark in writer.marks_among(tokens, text) if _hits(mark, said)})
    if len(cuts) > _MOST:
        raise FormatError(where, f"its text writes {len(cuts)} special tokens", "write it without them")
    if not cuts:
        yield from tokens
        return
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(text)], strict=True)):
        own = [(max(a - start, 0), min(b, end) - start) for a, b in said if a < end and b > start]
        first = number == 0
        part = _spelled(text[start:end], own, writer, where, begins and first, within=within or not first)
        yield from _moved(part, start)


def _hits(mark: Token, said: Sequence[tuple[int, int]]) -> bool:
    return any(mark.start < end and mark.end > start for start, end in said)


def _cut(text: str, mark: Token, where: str) -> int:
    if mark.end - mark.start < 2:
        raise FormatError(
            where,
            f"{text[mark.start : mark.end]!r} is a special token to this model's tokenizer",
            "write the text without it",
        )
    return mark.start + 1


class _Writer:
    """A tokenizer that tells which letters each of its tokens is made of."""

    def __init__(self, tokenizer: Any, marks: frozenset[int]) -> None:
        self._tokenizer, self._marks = tokenizer, marks
        self._bos = tokenizer.bos_token
        self._lead = tokenizer.bos_token or tokenizer.eos_token

    def written(self, text: str, *, begins: bool) -> list[Token]:
        """Tokens of a text that begins, or follows a mark."""
        if begins and self._bos and text.startswith(self._bos):
            rest = text.removeprefix(self._bos)
            return [*self._plain(self._bos), *_moved(self._plain(rest), len(self._bos))]
        if begins or not self._lead or not text:
            return self._plain(text)
        whole = self._plain(self._lead + text)
        return list(_moved(whole[len(self._plain(self._lead)) :], -len(self._lead)))

    def within(self, text: str) -> list[Token]:
        """Tokens of a text before which no space is written."""
        lead, whole = (self.written(one, begins=False) for one in (_LINE, _LINE + text))
        if [token.id for token in whole[: len(lead)]] != [token.id for token in lead]:
            return self.written(text, begins=False)
        return list(_moved(whole[len(lead) :], -len(_LINE)))

    def marks_among(self, tokens: Sequence[Token], text: str) -> Iterator[Token]:
        """Those that are marks, without the white space that they may have taken along."""
        for token in tokens:
            if token.id in self._marks:
                start, end = max(token.start, 0), token.end
                start += len(text[start:end]) - len(text[start:end].lstrip())
                end = start + len(text[start:end].rstrip())
                # What is unknown to a tokenizer becomes a mark without being one.
                unknown = token.id == self._tokenizer.unk_token_id
                if not unknown or text[start:end] == self._tokenizer.unk_token:
                    yield Token(token.id, start, end)

    def _plain(self, text: str) -> list[Token]:
        if not text:
            return []
        (found,) = self._tokenizer(text, add_special_tokens=False, verbose=False).encodings
        return [Token(number, *span) for number, span in zip(found.ids, found.offsets, strict=True)]


def _moved(tokens: Iterable[Token], by: int) -> Iterator[Token]:
    return (Token(token.id, token.start + by, token.end + by) for token in tokens)
