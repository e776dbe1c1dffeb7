"""Distillation written in plain numbers, and a student with teachers to try it on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from pairs_tools import make_pairs
from torch import nn

from vidapt.nouns import Features, Grid
from vidapt.objectives import Pairs
from vidapt.objectives.distill import Part

WIDTH, GRID = 6, Grid(2, 2, 3)
SHAPES = {"near": (2, 2, 3, 4), "far": (1, 3, 2, 5)}
"""Teachers' [t, h, w, C]; the second has fewer frames and columns than the student, and more rows."""

Numbers = list[list[list[list[float]]]]
"""[t][h][w][C]."""


class Student(nn.Module):
    """What `prepare` asks of a dual encoder."""

    def __init__(self, grid: Grid = GRID) -> None:
        super().__init__()
        self.tower = self
        self.size, self.width, self._grid = (8, 12), WIDTH, grid
        self.blueprint = type("Blueprint", (), {"width": 3})

    def grid(self, frames: int, view: tuple[int, int]) -> Grid:
        assert (frames, view) == (1, self.size)
        return self._grid


def part(**changes: Any) -> Part:
    given: dict[str, Any] = {
        "teachers": {"near": {"path": "a", "weight": 2.0}, "far": "b"},
        "width": 3,
        **changes,
    }
    term = Part(Part.Config.model_validate(given))
    term.prepare(Student())
    torch.manual_seed(1)
    for name in term.teachers:
        width = SHAPES[name][-1]
        std = torch.rand(width, dtype=torch.float64) + 0.5
        std[0] = 0.0  # a channel that does not change
        term.introduce(name, torch.randn(width, dtype=torch.float64), std)
    # Norms that do something.
    for weight in term.double().parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return term


def pairs(clips: int = 3, proxies: int = 2, seed: int = 0) -> Pairs:
    given = make_pairs(list(range(clips)), width=WIDTH, patches=GRID.cells + proxies, seed=seed)
    seen = {
        name: torch.randn(clips, *shape, dtype=torch.float64).requires_grad_()
        for name, shape in SHAPES.items()
    }
    return replace(given, grid=GRID, taught=lambda name: Features(seen[name]))


# The oracle: plain numbers and loops.


def weigh(given: int, wanted: int, place: int) -> dict[int, float]:
    """Shares of `given` cells in one of `wanted`: what it covers, or its two neighbours."""
    step = given / wanted
    if wanted < given:
        low, high = place * step, (place + 1) * step
        cover = {i: min(high, i + 1) - max(low, i) for i in range(given)}
        return {i: share / step for i, share in cover.items() if share > 0}
    middle = min(max((place + 0.5) * step - 0.5, 0.0), given - 1.0)
    low_cell = int(middle)
    part_of_next = middle - low_cell
    found = {low_cell: 1 - part_of_next}
    if part_of_next:
        found[low_cell + 1] = part_of_next
    return found


def regrid(x: Numbers, grid: tuple[int, int, int]) -> Numbers:
    t, h, w = len(x), len(x[0]), len(x[0][0])

    def cell(a: int, b: int, c: int) -> list[float]:
        terms = [
            [p * q * r * v for v in x[i][j][k]]
            for i, p in weigh(t, grid[0], a).items()
            for j, q in weigh(h, grid[1], b).items()
            for k, r in weigh(w, grid[2], c).items()
        ]
        return [math.fsum(column) for column in zip(*terms, strict=True)]

    return [[[cell(a, b, c) for c in range(grid[2])] for b in range(grid[1])] for a in range(grid[0])]


def normed(x: list[float], norm: Any) -> list[float]:
    mean = math.fsum(x) / len(x)
    var = math.fsum((v - mean) ** 2 for v in x) / len(x)
    scale, shift = norm.weight.tolist(), norm.bias.tolist()
    return [s * (v - mean) / math.sqrt(var + norm.eps) + b for v, s, b in zip(x, scale, shift, strict=True)]


def convolved(frame: list[list[list[float]]], layer: Any) -> list[list[list[float]]]:
    weight, bias, half = layer.weight.tolist(), layer.bias.tolist(), layer.weight.shape[-1] // 2
    h, w = len(frame), len(frame[0])

    def at(b: int, c: int, out: int) -> float:
        inside = [
            weight[out][channel][half + i][half + k] * frame[b + i][c + k][channel]
            for channel in range(len(frame[0][0]))
            for i in range(-half, half + 1)
            for k in range(-half, half + 1)
            if 0 <= b + i < h and 0 <= c + k < w
        ]
        return max(0.0, bias[out] + math.fsum(inside))

    return [[[at(b, c, out) for out in range(len(weight))] for c in range(w)] for b in range(h)]


def guessed(x: Numbers, translator: Any, grid: tuple[int, int, int]) -> Numbers:
    frames = []
    for frame in regrid(x, grid):
        for norm, layer in zip(translator.norms, translator.convolutions, strict=False):
            frame = convolved([[normed(cell, norm) for cell in row] for row in frame], layer)
        weight, bias = translator.out.weight.tolist(), translator.out.bias.tolist()
        last = translator.norms[-1]
        rows = [[normed(cell, last) for cell in row] for row in frame]
        frames.append(
            [[[b + dot(o, cell) for o, b in zip(weight, bias, strict=True)] for cell in row] for row in rows]
        )
    return frames


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def smooth(difference: float) -> float:
    """Huber's loss with its corner at 1."""
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def flat(cells: list[list[list[float]]]) -> list[float]:
    return [v for row in cells for cell in row for v in cell]


def mean(x: list[float]) -> float:
    return math.fsum(x) / len(x)


def oracle(term: Part, given: Pairs) -> tuple[dict[str, float], dict[str, float], float]:
    """Each teacher's value and mean cosine, and the weighted value."""
    clips = given.patches("encoder")[:, -GRID.cells :].reshape(-1, GRID.t, GRID.h, GRID.w, WIDTH).tolist()
    values, cosines = {}, {}
    for name in term.teachers:
        pupil: Any = term.pupils[f"of_{name}"]
        shift, scale = pupil.mean.tolist(), pupil.scale.tolist()
        found: list[float] = []
        costs: list[float] = []
        for x, seen in zip(clips, given.taught(name).x.tolist(), strict=True):
            guess = guessed(x, pupil.translator, SHAPES[name][:3])
            for frame, wanted in zip(guess, seen, strict=True):
                truth = [
                    [[(v - m) / s for v, m, s in zip(cell, shift, scale, strict=True)] for cell in row]
                    for row in wanted
                ]
                costs += [smooth(a - b) for a, b in zip(flat(frame), flat(truth), strict=True)]
                if term.cfg.cosine_of == "frame":
                    found.append(cosine(flat(frame), flat(truth)))
                else:
                    found += [
                        cosine(a, b)
                        for rows in zip(frame, truth, strict=True)
                        for a, b in zip(*rows, strict=True)
                    ]
        cosines[name] = mean(found)
        values[name] = term.cfg.cosine * (1 - mean(found)) + (1 - term.cfg.cosine) * mean(costs)
    weights = {name: teacher.weight for name, teacher in term.teachers.items()}
    total = math.fsum(weights[name] * value for name, value in values.items()) / math.fsum(weights.values())
    return values, cosines, total
