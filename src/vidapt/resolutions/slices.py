"""The whole image small, and cells of it large: as many as its area asks for, in its own proportions.

Source: MiniCPM-V (Yao et al. 2024, arXiv 2408.01800), version 2.6: the choice of the grid, the sizes and
the marks between views are those of the authors' image processor, and of transformers' for version 4.6. Its
slicing follows LLaVA-UHD (Xu et al. 2024, arXiv 2403.11703).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from vidapt.nouns import Grid, Plan, Tokens, View
from vidapt.resolutions._one_by_one import OneByOne
from vidapt.resolutions._prune import PrunedConfig
from vidapt.resolutions._resize import check_frames, check_plan, pillow

Marks = tuple[str, str]
"""What is written in front of something and behind it."""


class Cells(NamedTuple):
    """How an image is divided."""

    rows: int
    columns: int


class Part(OneByOne):
    """Cut the whole image at about `side` x `side` pixels and, of a larger one, cells of that size each.

    No view has a fixed shape: sides are multiples of the patch, in the image's proportions.

    Args:
        cfg: How many cells, of what size, and the marks around them.
        size: Native (height, width) of the tower; it reads other sizes too, and this part uses none.
        width: Of the language model; nothing is learned here.
    """

    class Config(PrunedConfig):
        """How many cells, of what size, and the marks around them.

        Attributes:
            max_slices: At most this many cells; 1 never divides.
            side: Each view has about `side * side` pixels.
            patch: Sides of views are multiples of this many pixels: of the tower's patch, or of as many
                patches as become one token.
            many: A clip of more frames than this has at most `max_slices_of_many` cells per frame.
            max_slices_of_many: See `many`.
            image_id: Marks around the image's number among the conversation's media, in front of a clip;
                None writes no number.
            image: Marks around the whole image.
            cell: Marks around each cell.
            between: What is written between two frames.
        """

        max_slices: int = Field(default=9, ge=1)
        side: int = Field(default=448, ge=1)
        patch: int = Field(default=14, ge=1)
        many: int = Field(default=16, ge=1)
        max_slices_of_many: int = Field(default=1, ge=1)
        image_id: Marks | None = ("<image_id>", "</image_id>")
        image: Marks = ("<image>", "</image>")
        cell: Marks = ("<slice>", "</slice>")
        between: str = "\n"

        @model_validator(mode="after")
        def _a_view_holds_a_patch(self) -> Part.Config:
            if self.side < self.patch:
                raise ValueError(f"views of {self.side} pixels a side cannot hold a patch of {self.patch}")
            return self

    def __init__(self, cfg: Config, *, size: tuple[int, int], width: int = 0) -> None:
        self.cfg, self.size = cfg, size

    def cells(self, size: tuple[int, int], frames: int) -> Cells | None:
        """The cells that each frame of a clip is divided into; None where it is not.

        Among the divisions into about as many cells as the area asks for, the one whose proportions are
        nearest to the image's, on a logarithmic scale; of equals, the first.

        Args:
            size: (height, width) in pixels.
            frames: How many frames the clip has.
        """
        height, width = size
        crowded = frames > self.cfg.many
        most = min(self.cfg.max_slices, self.cfg.max_slices_of_many) if crowded else self.cfg.max_slices
        wanted = min(math.ceil(width * height / self.cfg.side**2), most)
        if wanted <= 1:
            return None
        counts = [count for count in (wanted - 1, wanted, wanted + 1) if 1 < count <= most]
        divisions = [Cells(n // c, c) for n in counts for c in range(1, n + 1) if n % c == 0]
        shape = math.log(width / height)
        return min(divisions, key=lambda d: abs(shape - math.log(d.columns / d.rows)))

    def plan(self, size: tuple[int, int], frames: int) -> Plan:
        """Plan a clip: the whole image, then its cells row by row.

        Args:
            size: (height, width) of the file, in pixels.
            frames: How many frames will be decoded.

        Raises:
            ValueError: If a side or `frames` is not positive.
        """
        check_plan(size, frames)
        views = [View(self._fitted(*size))]
        cells = self.cells(size, frames)
        if cells is not None:
            views += [View(self._cell(size, cells))] * (cells.rows * cells.columns)
        return Plan(frames, tuple(views), size)

    def cut(self, pixels: Tensor, plan: Plan) -> list[Tensor]:
        """Cut the planned views, resized by Pillow's bicubic filter as in the original.

        Args:
            pixels: [T, H, W, 3] uint8, on the CPU.
            plan: What `plan` gave for this clip.

        Returns:
            One [T, 3, h, w] uint8 tensor per view.

        Raises:
            ValueError: If the pixels are not what was planned for.
        """
        check_frames(pixels, plan)
        frames = pixels.permute(0, 3, 1, 2)
        views = [pillow(frames, plan.views[0].size, "bicubic")]
        cells = self.cells(plan.size, plan.frames)
        if cells is not None:
            height, width = plan.views[1].size
            refined = pillow(frames, (height * cells.rows, width * cells.columns), "bicubic")
            rows = torch.split(refined, height, dim=2)
            views += [cell.contiguous() for row in rows for cell in torch.split(row, width, dim=3)]
        return views

    def arrange(self, tokens: Sequence[Tokens], plan: Plan) -> list[Tokens | str]:
        """Put the views of each moment together, marks around them.

        Args:
            tokens: One per view.
            plan: What `plan` gave for these clips.

        Raises:
            ValueError: If a view's tokens do not all have a moment.
        """
        return self._marked([_moments(view) for view in tokens], plan)

    def _fitted(self, height: float, width: float) -> tuple[int, int]:
        """(height, width) of about `side * side` pixels in given proportions, in whole patches."""
        ratio = width / height
        tall = int(self.cfg.side / math.sqrt(ratio))
        wide = int(tall * ratio)
        return _whole(tall, self.cfg.patch), _whole(wide, self.cfg.patch)

    def _cell(self, size: tuple[int, int], cells: Cells) -> tuple[int, int]:
        """(height, width) of one cell, whose proportions are the image's after rounding to whole cells."""
        height, width = _whole(size[0], cells.rows), _whole(size[1], cells.columns)
        return self._fitted(height / cells.rows, width / cells.columns)

    def _marked(self, views: Sequence[Sequence[Tokens]], plan: Plan) -> list[Tokens | str]:
        """Views by moment, with marks; neighbouring texts are one, so that they are tokenised together."""
        written: list[Tokens | str] = []
        cells = self.cells(plan.size, plan.frames)
        text = "{index}".join(self.cfg.image_id) if self.cfg.image_id else ""
        for whole, *slices in zip(*views, strict=True):
            written += [text + self.cfg.image[0], whole]
            text = self.cfg.image[1]
            for number, piece in enumerate(slices):
                assert cells is not None
                if number and number % cells.columns == 0:
                    text += "\n"
                written += [text + self.cfg.cell[0], piece]
                text = self.cfg.cell[1]
            last, text = text, text + self.cfg.between
        return [*written, last]


def _whole(length: float, unit: int) -> int:
    """The nearest multiple of a unit (of two equally near ones the even), at least one."""
    return max(round(length / unit) * unit, unit)


def _moments(tokens: Tokens) -> list[Tokens]:
    if tokens.extra:
        raise ValueError(f"slices are read moment by moment, and {tokens.extra} tokens belong to no moment")
    moment = Grid(1, tokens.grid.h, tokens.grid.w)
    return [Tokens(piece, moment) for piece in torch.split(tokens.x, moment.cells, dim=1)]


def tiny() -> Part:
    """The smallest sensible instance: views of about 8 x 8 pixels, up to four cells."""
    return Part(Part.Config(side=8, patch=4, max_slices=4), size=(8, 8))
