"""Conversations to token ids: what is read, what is answered, and where the clips stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidapt.errors import FormatError
from vidapt.nouns import MEDIA, Sample, Turn
from vidapt.recipe import Prompt

Piece = tuple[int, ...] | int
"""Token ids of a stretch of text, or the index of a clip among the sample's media."""


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
    """

    prefix: tuple[Piece, ...]
    ids: tuple[int, ...]
    answer: tuple[bool, ...]
    early: tuple[int, ...] = ()

    @property
    def labels(self) -> int:
        """Number of tokens with a label."""
        early = (self.prefix[index] for index in self.early)
        return sum(self.answer) + sum(len(piece) for piece in early if not isinstance(piece, int))


def encode(sample: Sample, prompt: Prompt, tokenizer: Any, *, open_answer: bool = False) -> Encoded:
    """Token ids of a sample.

    Text around a clip is tokenised apart from what follows it, so that a question has the same tokens
    whether or not it shares its prefix with others.

    Args:
        sample: The conversation.
        prompt: The model's template.
        tokenizer: A transformers tokenizer.
        open_answer: Leave out the last answer and stop where the model is to begin it.

    Raises:
        FormatError: If the number of media marks differs from the number of clips.
    """
    turns = _marked(sample)
    if prompt.compat == "published":
        turns = tuple(map(_clips_first, turns))
    pieces = _pieces(turns, prompt, tokenizer, open_answer=open_answer)
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
    turns: Sequence[Turn], prompt: Prompt, tokenizer: Any, *, open_answer: bool
) -> list[tuple[Piece, bool]]:
    """Stretches of ids (and clip indices) with whether each is part of an answer."""
    own_system = prompt.system is not None and bool(turns) and turns[0].role == "system"
    start = str(prompt.system).replace("{text}", turns[0].text) if own_system else prompt.start
    stretches: list[tuple[str, bool]] = [(start, False)]
    for index, turn in enumerate(turns):
        if own_system and index == 0:
            continue
        if turn.role == "system":
            stretches.append((turn.text, False))
        elif turn.role == "user":
            stretches += [(_asked(turn.text, prompt), False), (prompt.opening, False)]
        elif not (open_answer and index == len(turns) - 1):
            stretches.append((prompt.answer.replace("{text}", turn.text) + prompt.end, True))
    pieces: list[tuple[Piece, bool]] = []
    clips = 0
    for text, labelled in _joined(stretches):
        for part_index, part in enumerate(text.split(MEDIA)):
            if part_index:
                pieces.append((clips, False))
                clips += 1
            ids = _ids(part, tokenizer, begins=labelled or not pieces)
            if ids:
                pieces.append((ids, labelled))
    return pieces


def _asked(text: str, prompt: Prompt) -> str:
    """A user's turn; of one whose template has no place for words, only the media are shown."""
    if "{text}" in prompt.user:
        return prompt.user.replace("{text}", _with_media(text, prompt.media))
    shown = prompt.media.replace("{media}", MEDIA) * text.count(MEDIA)
    return prompt.user.replace("{media}", shown)


def _ids(text: str, tokenizer: Any, *, begins: bool) -> tuple[int, ...]:
    """Ids of a stretch of text, as they are within its whole line.

    SentencePiece writes a space in front of a text, and some tokenizers also in front of what follows a mark.

    Args:
        text: The stretch.
        tokenizer: A transformers tokenizer.
        begins: Whether a text begins: the line, or an answer, whose space is left to the tokenizer. Other
            stretches follow a mark: that of a clip, or that of an answer's end.
    """

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False).input_ids) if text else ()

    bos, mark = tokenizer.bos_token, tokenizer.bos_token or tokenizer.eos_token
    if begins and bos and text.startswith(bos):
        return (*ids(bos), *ids(text.removeprefix(bos)))
    if begins or not mark or not text:
        return ids(text)
    return ids(mark + text)[len(ids(mark)) :]


def _with_media(text: str, template: str) -> str:
    """Text with the template around each mark; what the template supplies behind a mark is not doubled."""
    behind = template.partition("{media}")[2]
    plain = text.replace(MEDIA + behind, MEDIA) if behind else text
    return plain.replace(MEDIA, template.replace("{media}", MEDIA))


def _joined(stretches: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Neighbouring stretches of equal kind as one, so that tokens may span them."""
    joined: list[tuple[str, bool]] = []
    for text, labelled in stretches:
        if joined and joined[-1][1] == labelled:
            joined[-1] = (joined[-1][0] + text, labelled)
        else:
            joined.append((text, labelled))
    return joined
