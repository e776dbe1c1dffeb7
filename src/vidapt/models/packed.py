"""Samples of several clips as one batch: shared prefixes in front, questions behind, labels by index."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.models.attention import PrefixLayout
from vidapt.models.text import Encoded
from vidapt.nouns import Layout, Moments, Span, SparseGrid, Stamp, Text, Timed
from vidapt.recipe.time_text import filled, is_timed


@dataclass(frozen=True, slots=True)
class Words:
    """Ids of text that stands between a clip's visual tokens."""

    ids: tuple[int, ...]


Reading = tuple[Span | Timed | Words, ...]
"""What is read of one clip: its layout with the text as ids."""


def spell(layout: Layout, index: int, tokenizer: Any, moments: Moments | None = None) -> Reading:
    """Turn a layout's texts into ids.

    Texts that stand side by side become ids together, as in one line. White space at the end becomes what it
    is in front of a word, since a question follows.

    Args:
        layout: What is read of a clip.
        index: Number of the clip among the conversation's media.
        tokenizer: A transformers tokenizer.
        moments: When the clip's frames were; None where nobody knows.

    Raises:
        ConfigError: If the layout asks for moments and there are none.
    """
    begins = _begins(layout, moments)
    reading: list[Span | Timed | Words] = []
    for written, group in itertools.groupby(layout, key=lambda piece: isinstance(piece, str | Stamp)):
        if written:
            text = "".join(_text(piece, index, moments) for piece in group)  # type: ignore[arg-type]
            reading.append(Words(_ids(text, tokenizer)))
        else:
            spans: Iterator[Span] = group  # type: ignore[assignment]
            reading += [
                (*span, tuple(itertools.islice(begins, span[0].t))) if moments else span for span in spans
            ]
    return tuple(reading)


def _ids(text: str, tokenizer: Any) -> tuple[int, ...]:
    """Ids of a text, which end as they do in front of a word: at an end only, two line breaks are one."""
    ids = tuple(tokenizer(text, add_special_tokens=False).input_ids)
    if text[-1:].isspace():
        word, longer = (tuple(tokenizer(x, add_special_tokens=False).input_ids) for x in ("a", f"{text}a"))
        if longer[-len(word) :] == word:
            return longer[: -len(word)]
    return ids


def _text(piece: str | Stamp, index: int, moments: Moments | None) -> str:
    if isinstance(piece, str):
        return piece.replace("{index}", str(index))
    if moments is None:
        if is_timed(piece.text):
            raise ConfigError(
                "moments",
                "the model reads times, and nobody knows when the frames were",
                "give their moments",
            )
        moments = Moments((0.0,) * (piece.last + 1), 0.0)
    return filled(piece, index, moments)


def _begins(layout: Layout, moments: Moments | None) -> Iterator[float]:
    """The second at which every slice begins: a clip's slices share its frames evenly, in order."""
    slices = sum(piece[0].t for piece in layout if isinstance(piece, tuple))
    if moments is None or not slices or slices > len(moments.seconds):
        return iter(())
    return iter(moments.seconds[:: -(-len(moments.seconds) // slices)])


@dataclass(frozen=True)
class Group:
    """Samples that share a prefix, and so one row of a batch.

    Attributes:
        encoded: The samples; their prefixes are equal.
        clips: What is read of each clip in the prefix.
    """

    encoded: tuple[Encoded, ...]
    clips: tuple[Reading, ...]


@dataclass(frozen=True)
class Packed:
    """N rows of P prefix and S suffix positions.

    Attributes:
        ids: [N, P + S] long; 0 where a visual token or padding stands.
        slots: [N, P + S] bool: where visual tokens stand, row by row in the order of the clips.
        positions: [N, P + S] (or [axes, N, P + S]); long, or float under linear scaling.
        layout: Who sees whom.
        label_at: [M] long: flat index (row * (P + S) + position) of the state that predicts each label.
        labels: [M] long.
        sample: [M] long: index of the sample each label belongs to, counted through all groups.
        weights: [M] float: how much each label counts; None where all count alike.
    """

    ids: Tensor
    slots: Tensor
    positions: Tensor
    layout: PrefixLayout
    label_at: Tensor
    labels: Tensor
    sample: Tensor
    weights: Tensor | None = None

    def to(self, device: torch.device) -> Packed:
        """The same batch on another device."""
        layout = PrefixLayout(
            self.layout.valid.to(device), self.layout.owner.to(device), flex=self.layout.flex
        )
        return Packed(
            ids=self.ids.to(device),
            slots=self.slots.to(device),
            positions=self.positions.to(device),
            layout=layout,
            label_at=self.label_at.to(device),
            labels=self.labels.to(device),
            sample=self.sample.to(device),
            weights=None if self.weights is None else self.weights.to(device),
        )


@dataclass
class _Row:
    ids: list[int]
    slots: list[bool]
    prefix: int
    owner: list[int]
    positions: Tensor
    label_at: list[int]
    labels: list[int]
    sample: list[int]


def pack(groups: Sequence[Group], positions: Any, *, flex: bool = False) -> Packed:
    """Lay groups out as rows of one batch.

    Args:
        groups: One row each.
        positions: The model's positions part.
        flex: Attend by FlexAttention; see `PrefixLayout`.

    Returns:
        Rows padded to the longest prefix and the longest suffix among them.
    """
    rows, counted = [], 0
    for group in groups:
        rows.append(_row(group, positions, counted))
        counted += len(group.encoded)
    p = max(row.prefix for row in rows)
    s = max(len(row.ids) - row.prefix for row in rows)
    n, axes = len(rows), rows[0].positions.shape[0]
    ids = torch.zeros(n, p + s, dtype=torch.long)
    slots = torch.zeros(n, p + s, dtype=torch.bool)
    valid = torch.zeros(n, p, dtype=torch.bool)
    owner = torch.full((n, s), -1)
    places = torch.zeros(axes, n, p + s, dtype=rows[0].positions.dtype)
    label_at: list[int] = []
    for index, row in enumerate(rows):
        tail = len(row.ids) - row.prefix
        for a, b, source in ((0, row.prefix, slice(0, row.prefix)), (p, p + tail, slice(row.prefix, None))):
            ids[index, a:b] = torch.tensor(row.ids[source], dtype=torch.long)
            slots[index, a:b] = torch.tensor(row.slots[source], dtype=torch.bool)
            places[:, index, a:b] = row.positions[:, source]
        valid[index, : row.prefix] = True
        owner[index, :tail] = torch.tensor(row.owner, dtype=torch.long)
        shift = p - row.prefix
        label_at += [index * (p + s) + at + (shift if at >= row.prefix else 0) for at in row.label_at]
    return Packed(
        ids,
        slots,
        places[0] if axes == 1 else places,
        PrefixLayout(valid, owner, flex=flex),
        torch.tensor(label_at, dtype=torch.long),
        torch.tensor([x for row in rows for x in row.labels], dtype=torch.long),
        torch.tensor([x for row in rows for x in row.sample], dtype=torch.long),
        _weights(groups),
    )


def _weights(groups: Sequence[Group]) -> Tensor | None:
    """What each label counts; nothing, and so no work, where all count alike."""
    encoded = [one for group in groups for one in group.encoded]
    if all(one.weight == 1.0 and not one.each for one in encoded):
        return None
    # A sample's labels stand together, in the order in which it weighs them.
    return torch.tensor([one.weight * each for one in encoded for each in one.each or (1.0,) * one.labels])


def _row(group: Group, positions: Any, first_sample: int) -> _Row:
    prefix, early = group.encoded[0].prefix, group.encoded[0].early
    if any((encoded.prefix, encoded.early) != (prefix, early) for encoded in group.encoded):
        raise ValueError("samples of one group must have one prefix")
    ids, slots, spans = prefix_layout(prefix, group.clips)
    place, after = numbered(positions, spans)
    row = _Row(ids, slots, len(ids), [], place, [], [], [])
    pieces = [place]
    answered = _answers_in_prefix(group)
    for number, encoded in enumerate(group.encoded):
        start = len(row.ids)
        row.label_at += [at - 1 for at in answered]
        row.labels += [ids[at] for at in answered]
        row.sample += [first_sample + number] * len(answered)
        tail, _ = positions.ids([len(encoded.ids)], start=after)
        pieces.append(tail)
        for offset, (token, labelled) in enumerate(zip(encoded.ids, encoded.answer, strict=True)):
            if labelled:
                # The first token behind the prefix is predicted by the prefix's last state.
                row.label_at.append(start + offset - 1 if offset else row.prefix - 1)
                row.labels.append(token)
                row.sample.append(first_sample + number)
        row.ids += encoded.ids
        row.slots += [False] * len(encoded.ids)
        row.owner += [number] * len(encoded.ids)
    row.positions = torch.cat(pieces, dim=1)
    if row.label_at and min(row.label_at) < 0:
        raise ValueError("the first token of a sequence cannot carry a label: nothing stands before it")
    return row


def _answers_in_prefix(group: Group) -> list[int]:
    """Positions of answers that stand before the last clip; they are equal for all samples of the group."""
    first = group.encoded[0]
    found: list[int] = []
    at = 0
    for index, piece in enumerate(first.prefix):
        length = reading_length(group.clips[piece]) if isinstance(piece, int) else len(piece)
        if index in first.early:
            found += range(at, at + length)
        at += length
    return found


def reading_length(reading: Reading) -> int:
    """Number of positions that a clip takes, with the text between its tokens."""
    return sum(len(p.ids) if isinstance(p, Words) else p[0].cells + p[1] for p in reading)


def numbered(positions: Any, spans: Sequence[Any], start: float = 0) -> tuple[Tensor, float]:
    """Number the tokens of a sequence, in which a token that is read has the number of its cell.

    Where cells are left out, those that are read keep what they would have among all, and so does the text
    behind: that is where a model learned to expect them.

    Args:
        positions: A positions part.
        spans: As it takes them; grids may be sparse.
        start: Position of the first token.

    Returns:
        [axes, L] positions, and the position of the token that would come next.
    """
    if not any(isinstance(span, tuple) and isinstance(span[0], SparseGrid) for span in spans):
        places, after = positions.ids(spans, start=start)
        return places, after
    whole: list[Any] = []
    read: list[int] = []
    first = 0
    for span in spans:
        if isinstance(span, int):
            whole.append(span)
            read += range(first, first + span)
            first += span
            continue
        grid, extra = span[0], span[1]
        if isinstance(grid, SparseGrid):
            read += [first + cell for cell in grid.kept]
            grid = grid.whole
        else:
            read += range(first, first + grid.cells)
        whole.append((grid, *span[1:]))
        first += grid.cells
        read += range(first, first + extra)
        first += extra
    places, after = positions.ids(whole, start=start)
    return places[:, read], after


def prefix_layout(
    prefix: Sequence[Any], clips: Sequence[Reading]
) -> tuple[list[int], list[bool], list[int | Span | Timed]]:
    """Ids and visual slots of a prefix, and its spans for the positions part."""
    ids: list[int] = []
    slots: list[bool] = []
    order: list[int | Span | Timed] = []
    for piece in _flat(prefix, clips):
        if isinstance(piece, Words):
            ids += piece.ids
            slots += [False] * len(piece.ids)
            order.append(Text(piece.ids))
        else:
            count = piece[0].cells + piece[1]
            ids += [0] * count
            slots += [True] * count
            order.append(piece)
    return ids, slots, order


def _flat(prefix: Sequence[Any], clips: Sequence[Reading]) -> Iterator[Span | Timed | Words]:
    for piece in prefix:
        if isinstance(piece, int):
            yield from clips[piece]
        else:
            yield Words(piece)
