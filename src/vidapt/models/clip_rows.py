"""Clips stacked along a first axis, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vidapt.nouns import Features, Seen, Tokens


def visual_tokens(read: Sequence[Tokens | str]) -> Tensor:
    """[N, n, D]: all visual tokens of each of N clips, in reading order."""
    return torch.cat([piece.x for piece in read if not isinstance(piece, str)], dim=1)


def split_views(features: Features, count: int) -> list[Features]:
    """Features of `count` views that were stacked along the first axis."""
    extras = [None] * count if features.extra is None else features.extra.chunk(count)
    return [Features(x, extra) for x, extra in zip(features.x.chunk(count), extras, strict=True)]


def stacked(seen: Sequence[Seen]) -> Seen:
    """Clips with equal plans as one."""
    columns = zip(*(one.features for one in seen), strict=True)
    return replace(seen[0], features=tuple(_joined(column) for column in columns))


def _joined(rows: Sequence[Features]) -> Features:
    extra = [one.extra for one in rows if one.extra is not None]
    return Features(torch.cat([one.x for one in rows]), torch.cat(extra) if extra else None)


def split_rows(features: Features, rows: Sequence[int]) -> list[Features]:
    """Features of N clips as those of so many each."""
    extras = [None] * len(rows) if features.extra is None else torch.split(features.extra, list(rows))
    parts = zip(torch.split(features.x, list(rows)), extras, strict=True)
    return [Features(x, extra) for x, extra in parts]
