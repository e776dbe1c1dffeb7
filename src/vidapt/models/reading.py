"""Questions are read: the prefix of each group once, and what all prefixes begin with once for all.

Letters as in `rows`. What all rows begin with has its columns before the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vidapt.models.delta_net import layers_with_state
from vidapt.models.packed import Group, numbered, prefix_layout
from vidapt.models.reach import reach_of
from vidapt.models.rotary import original_length
from vidapt.models.row_cache import remembered, row_cache
from vidapt.models.rows import Rows
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM

_SHORTEST_LEAD = 8
"""Tokens: for fewer, reading them once is more work than reading them again."""


@dataclass(frozen=True)
class Lead:
    """Text that prefixes begin with, read once.

    Attributes:
        ids: Its tokens.
        places: [axes, P] their positions.
        cache: Of one row.
    """

    ids: tuple[int, ...]
    places: Tensor
    cache: Any


@dataclass(frozen=True)
class Asked:
    """Questions about the same clips, before they are read.

    Attributes:
        group: The questions.
        visual: [V, D] visual tokens of their clips; None without clips.
        room: For each question, how many tokens its answer may have.
        times: For each question, how many answers it gets.
    """

    group: Group
    visual: Tensor | None
    room: tuple[int, ...]
    times: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Answers."""
        return sum(self.times)


@dataclass(frozen=True)
class _Prefix:
    """One group's prefix: L ids, which are visual tokens, their positions, and the position behind."""

    ids: list[int]
    slots: list[bool]
    places: Tensor
    after: float

    @classmethod
    def of(cls, model: VideoLM, group: Group) -> _Prefix:
        ids, slots, spans = prefix_layout(group.encoded[0].prefix, group.clips)
        places, after = numbered(model.positions, spans)
        return cls(ids, slots, places, after)

    @property
    def text(self) -> list[int]:
        """The ids before the first clip."""
        return self.ids[: self.slots.index(True)] if True in self.slots else self.ids


def can_share(model: VideoLM) -> bool:
    """Whether rows can stand behind columns that are not their own.

    A state has no columns, and would read padding; a window counts columns.
    """
    return not layers_with_state(model.language) and reach_of(model).window is None


def read_rows(
    model: VideoLM, asked: Sequence[Asked], lead: Lead | None, *, share: bool = False
) -> tuple[Rows, Tensor, Lead | None]:
    """Read prefixes once, and the questions behind them.

    Args:
        model: The model.
        asked: What is asked.
        lead: What earlier prefixes began with.
        share: Remember each prefix once for all of its rows, and not once in each.

    Returns:
        A row for each answer; [B, vocabulary] logits of its first token; and what these prefixes begin with.
    """
    prefixes = [_Prefix.of(model, one.group) for one in asked]
    lengths = _lengths(model, asked, prefixes)
    # What the first of several begins with is not what another one does where frequencies differ.
    lead = None if lengths is not None else _lead(model, prefixes, lead)
    rows = _read_prefixes(model, prefixes, [one.visual for one in asked], lead, lengths)
    if share:
        rows.share()
    owners = [at for at, one in enumerate(asked) for _ in one.group.encoded]
    _keep(rows, owners, model)
    texts = [encoded.ids for one in asked for encoded in one.group.encoded]
    most = max(room for one in asked for room in one.room)
    logits = _read_questions(model, rows, texts, [prefixes[owner].after for owner in owners], most)
    times = [count for one in asked for count in one.times]
    if set(times) != {1}:
        again = [row for row, count in enumerate(times) for _ in range(count)]
        _keep(rows, again, model)
        logits = logits[torch.tensor(again, device=logits.device)]
    return rows, logits, lead


def _lengths(model: VideoLM, asked: Sequence[Asked], prefixes: Sequence[_Prefix]) -> Tensor | None:
    """[B] positions of each prefix and the longest question behind it, where frequencies depend on them."""
    if not model.varying:
        return None
    ends = [
        max(question_end(model, one.after, encoded) for encoded in group.group.encoded)
        for group, one in zip(asked, prefixes, strict=True)
    ]
    return torch.tensor(ends, device=model.device) if max(ends) > original_length(model.varying) else None


def one_by_one(model: VideoLM, group: Group) -> list[Group]:
    """A group as it can be read: in parts of one question where these decide how the prefix is read."""
    if not group.encoded:
        return []
    if model.varying and len(group.encoded) > 1:
        after = _Prefix.of(model, group).after
        longest = max(question_end(model, after, encoded) for encoded in group.encoded)
        if longest > original_length(model.varying):
            return [replace(group, encoded=(encoded,)) for encoded in group.encoded]
    return [group]


def question_end(model: VideoLM, after: float, encoded: Encoded) -> float:
    """The first position behind a question that begins at one."""
    return float(model.positions.ids([len(encoded.ids)], start=after)[0].max()) + 1


def _keep(rows: Rows, index: list[int], model: VideoLM) -> None:
    if index != list(range(len(rows.mask))):
        rows.keep(torch.tensor(index, device=model.device))


def _lead(model: VideoLM, prefixes: Sequence[_Prefix], known: Lead | None) -> Lead | None:
    """The text that all of these begin with; None where there is none, or it cannot stand before padding."""
    common = list(prefixes[0].text)
    for one in prefixes[1:]:
        text = one.text
        same = next((at for at, (a, b) in enumerate(zip(common, text, strict=False)) if a != b), None)
        common = common[: min(len(common), len(text)) if same is None else same]
    if known is not None and tuple(common[: len(known.ids)]) == known.ids:
        return known
    if len(common) < _SHORTEST_LEAD or len(prefixes) < 2:
        return None
    if not can_share(model):
        return None
    places = prefixes[0].places[:, : len(common)]
    if any(not torch.equal(one.places[:, : len(common)], places) for one in prefixes[1:]):
        return None
    rows = _empty(model, 1, places)
    ids = torch.tensor([common], device=model.device)
    marks = torch.zeros_like(ids, dtype=torch.bool)
    rows.read(model, model.entering(ids, marks, None), torch.ones_like(ids), places[:, None].to(model.device))
    return Lead(tuple(common), places, rows.cache)


def _empty(model: VideoLM, count: int, places: Tensor) -> Rows:
    """Rows of which nothing has been read."""
    none = torch.zeros(count, 0, dtype=torch.long, device=model.device)
    ahead = places.new_zeros(len(places), count, 0).to(model.device)
    return Rows(row_cache(model.language), none, ahead, none.new_zeros(count))


def _read_prefixes(
    model: VideoLM,
    prefixes: Sequence[_Prefix],
    visual: Sequence[Tensor | None],
    lead: Lead | None,
    lengths: Tensor | None,
) -> Rows:
    """Read each group's prefix behind what all of them begin with."""
    own = 0 if lead is None else len(lead.ids)
    ids, mask = right_aligned([one.ids[own:] for one in prefixes])
    slots = torch.zeros_like(mask)
    first = prefixes[0].places
    places = first.new_zeros(first.shape[0], *ids.shape)
    for index, one in enumerate(prefixes):
        start = ids.shape[1] - len(one.ids) + own
        slots[index, start:] = torch.tensor(one.slots[own:], dtype=torch.long)
        places[:, index, start:] = one.places[:, own:]
    rows = _empty(model, len(prefixes), first)
    if lead is not None:
        _begin(rows, lead)
    if ids.shape[1]:
        given = [v for v in visual if v is not None]
        tokens = torch.cat(given) if given else None
        marks = slots.bool().to(model.device)
        entering = model.entering(ids.to(model.device), marks, tokens)
        rows.read(model, entering, mask, places.to(model.device), lengths)
    return rows


def _begin(rows: Rows, lead: Lead) -> None:
    """Let all rows begin with what was read already."""
    count = len(rows.mask)
    for number, layer in enumerate(lead.cache.layers):
        rows.cache.update(
            layer.keys.expand(count, -1, -1, -1), layer.values.expand(count, -1, -1, -1), number
        )
    rows.mask = rows.mask.new_ones(count, len(lead.ids))


def _read_questions(
    model: VideoLM, rows: Rows, texts: Sequence[Sequence[int]], starts: Sequence[float], most: int
) -> Tensor:
    """Read a text per row, note the positions of `most` columns behind it, and return the logits there."""
    ids, mask = right_aligned(texts)
    b, length = ids.shape
    places = rows.ahead.new_zeros(rows.ahead.shape[0], b, length + most)
    for index, (text, start) in enumerate(zip(texts, starts, strict=True)):
        places[:, index, length - len(text) :] = model.positions.ids([len(text) + most], start=start)[0]
    rows.ahead, rows.taken = places[:, :, length:], rows.taken.new_zeros(b)
    words = model.language.get_input_embeddings()(ids.to(model.device))
    return model.head(rows.read(model, {"inputs_embeds": words}, mask, places[:, :, :length]))


def right_aligned(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """[B, L] long ids padded in front, and 1 where they are real."""
    length = max(len(text) for text in texts)
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, text in enumerate(texts):
        ids[index, length - len(text) :] = torch.tensor(text, dtype=torch.long)
        mask[index, length - len(text) :] = 1
    return ids, mask


def column_bytes(model: VideoLM) -> int:
    """What a language model remembers of a token, in bytes; found by letting it read one."""
    places, _ = model.positions.ids([1])
    rows = _empty(model, 1, places)
    ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    entering = model.entering(ids, torch.zeros_like(ids, dtype=torch.bool), None)
    rows.read(model, entering, torch.ones_like(ids), places[:, None].to(model.device))
    return remembered(rows.cache)
