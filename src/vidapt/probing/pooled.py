"""Visual tokens of a clip as probes read them: not more than so many, each with its place.

Letters: n tokens, C channels, t, h, w the sides of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vidapt.nouns import Grid, Plan, Seen, Stamp, Tokens

CONNECTOR, TOWER = "connector", "tower"


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens of one clip.

    Attributes:
        x: [n, C] in reading order.
        at: [n, 3] where each is: time, row, column, from 0 to 1; -1 for tokens without a place.
    """

    x: Tensor
    at: Tensor


def rows_of(seen: Seen, read: Sequence[Tokens | str | Stamp], towers: int, most: int) -> dict[str, Row]:
    """What towers saw of one clip and what the connector made of it, by where that is.

    Args:
        seen: Of one clip.
        read: What `VisualSide.read` made of it.
        towers: How many there are.
        most: Most tokens; where there are more, neighbours are averaged.
    """
    rows = {
        TOWER if towers == 1 else f"{TOWER} {number + 1}": _joined(pieces, most)
        for number, pieces in _of_towers(seen, seen.plan, towers).items()
    }
    made = [one for one in read if isinstance(one, Tokens)]
    return rows | {CONNECTOR: _joined([_tokens(one) for one in made], most)}


_Piece = tuple[Tensor, Grid, Tensor | None]


def _of_towers(seen: Seen, plan: Plan, towers: int) -> dict[int, list[_Piece]]:
    """[t, h, w, C] with what has no place, of each view, by its tower."""
    found: dict[int, list[_Piece]] = {}
    for number, one in enumerate(seen.features):
        # What was stitched before has no views any more, and one tower.
        tower = plan.views[number].tower if towers > 1 else 0
        x = torch.cat((one.x[0], *(level[0] for level in one.levels)), dim=-1)
        extra = one.extra
        if extra is not None and one.levels:
            extra = None  # it has fewer channels
        found.setdefault(tower, []).append((x, one.grid, None if extra is None else extra[0]))
    return found


def _tokens(one: Tokens) -> _Piece:
    x = torch.cat((one.x, *one.deep), dim=2)[0]
    cells, grid = x[: one.grid.cells], one.grid
    extra = x[one.grid.cells :] if one.extra else None
    return cells.reshape(grid.t, grid.h, grid.w, -1), grid, extra


def _joined(pieces: Sequence[_Piece], most: int) -> Row:
    each = max(1, most // len(pieces))
    rows, places = [], []
    for number, (x, grid, extra) in enumerate(pieces):
        room = each if extra is None else max(1, each - min(len(extra), each // 2))
        smaller = _smaller(grid, room)
        cells = functional.adaptive_avg_pool3d(
            x.float().permute(3, 0, 1, 2)[None], (smaller.t, smaller.h, smaller.w)
        )[0].permute(1, 2, 3, 0)
        rows.append(cells.flatten(0, 2))
        places.append(_places(smaller, number, len(pieces)))
        if extra is not None:
            few = functional.adaptive_avg_pool1d(extra.float().T, min(len(extra), max(1, each // 2))).T
            rows.append(few)
            places.append(torch.full((len(few), 3), -1.0))
    return Row(torch.cat(rows).cpu(), torch.cat(places))


def _smaller(grid: Grid, room: int) -> Grid:
    """A grid of at most so many cells; the longest side is halved as often as is needed."""
    sides = [grid.t, grid.h, grid.w]
    while sides[0] * sides[1] * sides[2] > room:
        longest = max(range(3), key=lambda at: sides[at])
        sides[longest] = (sides[longest] + 1) // 2
    return Grid(*sides)


def _places(grid: Grid, number: int, count: int) -> Tensor:
    """[t * h * w, 3]; of several pieces one after the other in time."""
    sides = [(torch.arange(side) + 0.5) / side for side in (grid.t, grid.h, grid.w)]
    times = sides[0] if count == 1 or grid.t > 1 else (sides[0] + number) / count
    return torch.stack(torch.meshgrid(times, sides[1], sides[2], indexing="ij"), dim=-1).flatten(0, 2)
