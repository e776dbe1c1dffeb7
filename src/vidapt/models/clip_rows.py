"""Clips stacked along a first axis, and taken apart again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vidapt.nouns import Features, Seen, Stamp, Tokens, Views


def visual_tokens(read: Sequence[Tokens | str | Stamp]) -> Tensor:
    """[N, n, D]: all visual tokens of each of N clips, in reading order.

    Where something is added deeper down, it stands behind each token: [N, n, D * (1 + depths)].
    """
    pieces = [piece for piece in read if isinstance(piece, Tokens)]
    rows = [torch.cat((piece.x, *piece.deep), dim=2) if piece.deep else piece.x for piece in pieces]
    return torch.cat(rows, dim=1)


def rows_of(clips: Seen | Views) -> int:
    """How many clips are stacked."""
    return len(clips.tensors[0] if isinstance(clips, Views) else clips.features[0].x)


def split_views(features: Features, count: int) -> list[Features]:
    """Features of `count` views that were stacked along the first axis."""
    return split_rows(features, [len(features.x) // count] * count)


def stacked(seen: Sequence[Seen]) -> Seen:
    """Clips with equal plans as one."""
    columns = zip(*(one.features for one in seen), strict=True)
    return replace(
        seen[0],
        features=tuple(_joined(column) for column in columns),
        moments=tuple(itertools.chain.from_iterable(one.moments for one in seen)),
        kept=tuple(itertools.chain.from_iterable(one.kept for one in seen)),
    )


def split_rows(features: Features, rows: Sequence[int]) -> list[Features]:
    """Features of N clips as those of so many each."""
    pieces = [torch.split(one, list(rows)) for one in every_tensor(features)]
    return [_alike(features, row) for row in zip(*pieces, strict=True)]


def each_tensor(features: Features, change: Callable[[Tensor], Tensor]) -> Features:
    """Features, every tensor of which is changed in the same way."""
    return _alike(features, [change(one) for one in every_tensor(features)])


def every_tensor(features: Features) -> list[Tensor]:
    """All that features hold."""
    extra = [] if features.extra is None else [features.extra]
    return [features.x, *extra, *features.levels]


def _alike(model: Features, tensors: Sequence[Tensor]) -> Features:
    """Features of what `every_tensor` gives of features like `model`."""
    first = 1 if model.extra is None else 2
    return Features(tensors[0], None if model.extra is None else tensors[1], tuple(tensors[first:]))


def _joined(rows: Sequence[Features]) -> Features:
    columns = zip(*(every_tensor(one) for one in rows), strict=True)
    return _alike(rows[0], [torch.cat(column) for column in columns])
