"""Positions of three axes on a canvas: slices of a picture lie inside it, where they were cut from.

Source: the canvas positions of MiniCPM-V 4.7, as transformers numbers its prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from vidapt.nouns import Grid, Text
from vidapt.parts import PartConfig

_PLAIN = -1
"""Id of text that does not tell its ids: no mark."""


@dataclass(frozen=True)
class _View:
    """A picture or a slice in the sequence: its first token, the one behind its last, and its cells."""

    first: int
    end: int
    grid: Grid


@dataclass
class _Frame:
    """A whole picture, the slices of it, and which tokens belong to it, marks among them."""

    first: int
    whole: _View
    slices: list[_View] = field(default_factory=list)
    end: int = 0


class Part:
    """Canvas positions, three axes.

    A picture is a square piece of the plane: its time is where it begins, its rows and columns are counted
    from there. Slices have the places they were cut from, the whole picture is stretched over them, and marks
    stand at corners. Text goes on behind the longer side.

    Args:
        cfg: Ids of the marks.
    """

    class Config(PartConfig):
        """Ids of the marks.

        Attributes:
            image: Around a whole picture.
            cell: Around a slice.
            newline: What ends a row of slices.
        """

        image: tuple[int, int]
        cell: tuple[int, int]
        newline: int

    axes = 3

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def ids(self, spans: Sequence[Any], start: float = 0) -> tuple[Tensor, float]:
        """Number the tokens of a sequence.

        Args:
            spans: In order: the length of a stretch of text (`Text` tells marks from words), or the grid and
                extra tokens of a view; every step of time is a picture, extra ones are numbered like text.
            start: Position of the first token; what an earlier call returned continues it.

        Returns:
            [3, L] int64 positions (time, row, column), and the position of the token that would come next.

        Raises:
            ValueError: If a span is negative.
        """
        tokens, views = _flat(spans)
        places = torch.zeros(3, len(tokens), dtype=torch.long)
        at, done = int(start), 0
        for frame in self._frames(tokens, views):
            at = _text(places, done, max(done, frame.first), at)
            height, width = self._place(places, frame, tokens, at)
            at += max(height, width) + 1
            done = frame.end
        return places, _text(places, done, len(tokens), at)

    def _frames(self, tokens: Sequence[int | None], views: Sequence[_View]) -> list[_Frame]:
        """Pictures with their slices, and the marks that close them."""
        frames: list[_Frame] = []
        for view in views:
            before = tokens[view.first - 1] if view.first else _PLAIN
            if frames and before == self.cfg.cell[0]:
                frames[-1].slices.append(view)
            else:
                frames.append(_Frame(view.first - (before == self.cfg.image[0]), view))
        marks = {*self.cfg.image, *self.cfg.cell, self.cfg.newline}
        for frame in frames:
            frame.end = (frame.slices or [frame.whole])[-1].end
            while frame.end < len(tokens) and tokens[frame.end] in marks:
                frame.end += 1
        return frames

    def _place(self, places: Tensor, frame: _Frame, tokens: Sequence[int | None], at: int) -> tuple[int, int]:
        """Number a picture's tokens; returns the height and width of its canvas."""
        whole, cells = frame.whole, frame.slices
        columns = _columns(cells)
        height, width = whole.grid.h, whole.grid.w
        if cells:
            height, width = len(cells) // columns * cells[0].grid.h, columns * cells[0].grid.w
        places[:, frame.first : frame.end] = at
        if frame.first < whole.first:
            places[1:, frame.first] = max(at - 1, 0)
        if whole.end < frame.end:
            places[1:, whole.end] = torch.tensor([at + height, at + width])
        places[:, whole.first : whole.end] = at + _cells(whole.grid, (height, width))
        for number, cell in enumerate(cells):
            corner = (number // columns * cells[0].grid.h, number % columns * cells[0].grid.w)
            self._slice(places, cell, frame.end, at, corner)
            if number % columns == columns - 1 and number + 1 < len(cells):
                row_end = torch.tensor([corner[0] + cells[0].grid.h - 1, width])
                places[1:, cell.end + 1 : cells[number + 1].first - 1] = at + row_end[:, None]
        return height, width

    def _slice(self, places: Tensor, cell: _View, end: int, at: int, corner: tuple[int, int]) -> None:
        """Number a slice and the marks around it."""
        top = torch.tensor(corner)
        places[1:, cell.first - 1] = at + top
        if cell.end < end:
            places[1:, cell.end] = at + top + torch.tensor([cell.grid.h, cell.grid.w]) - 1
        inside = _cells(cell.grid, (cell.grid.h, cell.grid.w))
        places[:, cell.first : cell.end] = at + inside + torch.tensor([0, *corner])[:, None]


def _flat(spans: Sequence[Any]) -> tuple[list[int | None], list[_View]]:
    """The ids of all tokens, None where one is visual, and the pictures among them."""
    tokens: list[int | None] = []
    views: list[_View] = []
    for span in spans:
        if isinstance(span, int):
            if span < 0:
                raise ValueError(f"a span cannot have a negative length: {span}")
            tokens += span.ids if isinstance(span, Text) else [_PLAIN] * span
            continue
        grid, extra = span[0], span[1]
        for _ in range(grid.t):
            views.append(_View(len(tokens), len(tokens) + grid.h * grid.w, grid))
            tokens += [None] * (grid.h * grid.w)
        tokens += [_PLAIN] * extra
    return tokens, views


def _text(places: Tensor, first: int, end: int, at: int) -> int:
    """Number text; returns the position behind it."""
    places[:, first:end] = torch.arange(at, at + end - first)
    return at + end - first


def _columns(cells: Sequence[_View]) -> int:
    """How many slices stand in a row: more than two marks between two of them end one."""
    gaps: Iterator[int] = (b.first - a.end for a, b in pairwise(cells))
    count = next((index + 1 for index, gap in enumerate(gaps) if gap > 2), len(cells))
    return count if count and len(cells) % count == 0 else max(1, len(cells))


def _cells(grid: Grid, size: tuple[int, int]) -> Tensor:
    """[3, h * w]: no time, and rows and columns spread over a canvas of (height, width)."""
    rows, columns = (
        torch.linspace(0, length - 1, count).round().long()
        for length, count in zip(size, (grid.h, grid.w), strict=True)
    )
    down, across = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([torch.zeros_like(down), down, across]).flatten(1)


def tiny() -> Part:
    """The smallest sensible instance: marks that no text has."""
    return Part(Part.Config(image=(1, 2), cell=(3, 4), newline=5))
