"""Conversations to token ids: what is read, what is answered, and where the clips stand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidapt.errors import FormatError
from vidapt.models.spelling import Run, Token, marks_of, spelled, spelled_tokens
from vidapt.nouns import MEDIA, Sample, Turn
from vidapt.recipe import Prompt

Piece = tuple[int, ...] | int
"""Token ids of a stretch of text, or the index of a clip among the sample's media."""

Place = tuple[int, int, int]
"""Index of a turn, and which of its letters: the first, and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sample as ids, split behind its last clip.

    Attributes:
        prefix: Everything up to and including the last clip; samples of one clip share it. Whoever groups
            samples by it must group by `early` too.
        ids: The rest.
        answer: For each of `ids`, whether it is part of an answer (and so has a label).
        early: Indices of the pieces of `prefix` that are answers, in conversations in which a clip follows
            an answer.
        weight: How much each of its labels counts; 1/n where it is one of n answers to one question.
        each: How much every single label counts besides, in their order (those of `early` first); empty where
            all count alike.

    Raises:
        ValueError: If `each` has not one number for every label.
    """

    prefix: tuple[Piece, ...]
    ids: tuple[int, ...]
    answer: tuple[bool, ...]
    early: tuple[int, ...] = ()
    weight: float = 1.0
    each: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.each and len(self.each) != self.labels:
            raise ValueError(f"{len(self.each)} weights for {self.labels} labels")

    @property
    def labels(self) -> int:
        """Number of tokens with a label."""
        early = (self.prefix[index] for index in self.early)
        return sum(self.answer) + sum(len(piece) for piece in early if not isinstance(piece, int))


def encode(sample: Sample, prompt: Prompt, tokenizer: Any, *, open_answer: bool = False) -> Encoded:
    """Token ids of a sample.

    Special tokens are made by the template alone: what turns say is words (`models.spelling`).
    Text around a clip is tokenised apart from what follows it, so that a question has the same tokens
    whether or not it shares its prefix with others.

    Args:
        sample: The conversation.
        prompt: The model's template.
        tokenizer: A transformers tokenizer.
        open_answer: Leave out the last answer and stop where the model is to begin it.

    Raises:
        FormatError: If the number of media marks differs from the number of clips, or words cannot be written
            without a special token.
    """
    turns = _marked(sample)
    if prompt.compat == "published":
        turns = tuple(map(_clips_first, turns))
    pieces = _pieces(turns, prompt, tokenizer, sample.source or sample.id, open_answer=open_answer)
    last = max((i for i, (piece, _) in enumerate(pieces) if isinstance(piece, int)), default=-1)
    prefix = tuple(piece for piece, _ in pieces[: last + 1])
    early = tuple(index for index, (_, labelled) in enumerate(pieces[: last + 1]) if labelled)
    ids: list[int] = []
    answer: list[bool] = []
    for piece, labelled in pieces[last + 1 :]:
        assert not isinstance(piece, int)
        ids += piece
        answer += [labelled] * len(piece)
    return Encoded(prefix, tuple(ids), tuple(answer), early)


def answer_places(sample: Sample, prompt: Prompt, tokenizer: Any) -> list[Place]:
    """Of every token with a label, in their order, the letters that it is made of.

    Args:
        sample: The conversation.
        prompt: The model's template.
        tokenizer: A transformers tokenizer.

    Returns:
        As many as `encode(...).labels`. A token of the template, such as the mark of an answer's end, is of
        no turn (-1). White space in front of a word is none of its letters.
    """
    places: list[Place] = []
    marks, where = marks_of(tokenizer, prompt), sample.source or sample.id
    turns = _marked(sample)
    if prompt.compat == "published":
        turns = tuple(map(_clips_first, turns))
    for labelled, group in itertools.groupby(_runs(turns, prompt, open_answer=False), lambda run: run[0]):
        if labelled:
            runs = [run for _, run in group]
            places += _places(runs, spelled_tokens(runs, tokenizer, marks, where))
    return places


def _places(runs: Sequence[Run], tokens: Sequence[Token]) -> Iterator[Place]:
    text = "".join(run.text for run in runs)
    ends = list(itertools.accumulate(len(run.text) for run in runs))
    for token in tokens:
        start, end = max(token.start, 0), max(token.end, 0)
        start += len(text[start:end]) - len(text[start:end].lstrip())
        # One that begins in a template and ends in an answer is the answer's.
        inside = [
            (run, stop - len(run.text), stop)
            for run, stop in zip(runs, ends, strict=True)
            if run.turn >= 0 and start < stop and stop - len(run.text) < end
        ]
        if not inside or start >= end:
            yield -1, 0, 0
            continue
        run, begins, stop = inside[0]
        yield run.turn, max(start, begins) - begins, min(end, stop) - begins


def _marked(sample: Sample) -> tuple[Turn, ...]:
    """The turns with as many media marks as clips."""
    marks = sum(turn.text.count(MEDIA) for turn in sample.turns)
    turns = sample.turns
    if marks == 0 and sample.media:
        first = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
        if first is None:
            raise FormatError(sample.source or sample.id, "has clips but no user turn to put them in")
        lead = Turn("user", MEDIA * len(sample.media) + turns[first].text)
        return (*turns[:first], lead, *turns[first + 1 :])
    if marks != len(sample.media):
        raise FormatError(sample.source or sample.id, f"{marks} media marks for {len(sample.media)} clips")
    return turns


def _clips_first(turn: Turn) -> Turn:
    """The turn with its media marks in front of its words, which stand without white space around them."""
    if MEDIA not in turn.text:
        return turn
    return replace(turn, text=MEDIA * turn.text.count(MEDIA) + turn.text.replace(MEDIA, "").strip())


def _pieces(
    turns: Sequence[Turn], prompt: Prompt, tokenizer: Any, where: str, *, open_answer: bool
) -> list[tuple[Piece, bool]]:
    """Stretches of ids (and clip indices) with whether each is part of an answer."""
    marks = marks_of(tokenizer, prompt)
    pieces: list[tuple[Piece, bool]] = []
    clips = 0
    for labelled, group in itertools.groupby(_runs(turns, prompt, open_answer=open_answer), lambda r: r[0]):
        for part_index, part in enumerate(_between_media([run for _, run in group])):
            if part_index:
                pieces.append((clips, False))
                clips += 1
            ids = spelled(part, tokenizer, marks, where, begins=labelled or not pieces)
            if ids:
                pieces.append((ids, labelled))
    return pieces


def _runs(turns: Sequence[Turn], prompt: Prompt, *, open_answer: bool) -> Iterator[tuple[bool, Run]]:
    """All that is read, in order, with whether it is part of an answer."""
    own_system = prompt.system is not None and bool(turns) and turns[0].role == "system"
    start = _filled(str(prompt.system), turns[0].text) if own_system else [Run(prompt.start, said=False)]
    yield from ((False, run) for run in start)
    for index, turn in enumerate(turns):
        if own_system and index == 0:
            continue
        if turn.role == "system":
            yield False, Run(turn.text, said=True)
        elif turn.role == "user":
            yield from ((False, run) for run in (*_asked(turn.text, prompt), Run(prompt.opening, said=False)))
        elif not (open_answer and index == len(turns) - 1):
            said = _filled(prompt.answer, turn.text, index)
            yield from ((True, run) for run in (*said, Run(prompt.end, said=False)))


def _filled(template: str, text: str, turn: int = -1) -> list[Run]:
    """A template with a text in its places."""
    return _around([Run(text, True, turn)], template.split("{text}"))


def _around(words: Sequence[Run], template: Sequence[str]) -> list[Run]:
    """Parts of a template with words between every two of them."""
    first, *others = template
    return [Run(first, said=False), *(run for part in others for run in (*words, Run(part, said=False)))]


def _asked(text: str, prompt: Prompt) -> list[Run]:
    """A user's turn; of one whose template has no place for words, only the media are shown."""
    if "{text}" not in prompt.user:
        shown = prompt.media.replace("{media}", MEDIA) * text.count(MEDIA)
        return [Run(prompt.user.replace("{media}", shown), said=False)]
    template = prompt.user
    if prompt.sighted is not None and text.startswith(MEDIA):
        template = prompt.sighted
    return _around(_with_media(text, prompt), template.split("{text}"))


def _with_media(text: str, prompt: Prompt) -> list[Run]:
    """Text with the template around each mark; what the template supplies behind a mark is not doubled."""
    behind = prompt.media.partition("{media}")[2] or prompt.dropped
    plain = text.replace(MEDIA + behind, MEDIA) if behind else text
    shown = Run(prompt.media.replace("{media}", MEDIA), said=False)
    first, *others = plain.split(MEDIA)
    return [Run(first, said=True), *(run for part in others for run in (shown, Run(part, said=True)))]


def _between_media(runs: Sequence[Run]) -> list[list[Run]]:
    """What stands before, between and behind the marks of clips."""
    parts: list[list[Run]] = [[]]
    for run in runs:
        first, *others = run.text.split(MEDIA)
        parts[-1].append(Run(first, run.said))
        parts += [[Run(other, run.said)] for other in others]
    return parts
