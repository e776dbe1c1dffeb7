"""Curves as inline SVG: lines over steps or shares, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

SMALL, LARGE = (320.0, 150.0), (640.0, 240.0)
"""Width and height of a drawing."""

LEFT, RIGHT, TOP, BOTTOM = 42.0, 8.0, 8.0, 22.0
RADIUS = 4.5


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined by a line.

    Attributes:
        kind: Class of the line and its marks: raw, mean, first, last or level.
        xs: [n] increasing.
        ys: [n] finite.
        marks: Places of the points that are marked.
    """

    kind: str
    xs: Sequence[float]
    ys: Sequence[float]
    marks: Sequence[int] = ()


def three_digits(value: float) -> str:
    """A number as levels are labelled, unless they are told otherwise."""
    return f"{value:.3g}"


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f} %"


def plot(
    lines: Sequence[Line],
    label: str,
    ends: tuple[str, str],
    *,
    span: tuple[float, float] | None = None,
    size: tuple[float, float] = SMALL,
    write: Callable[[float], str] = three_digits,
) -> Markup:
    """Draw lines over one scale.

    Args:
        lines: One at least, none empty.
        label: What the drawing shows.
        ends: What stands under the left and the right end.
        span: Lowest and highest value of the scale. By default those of the lines; the scale is then
            logarithmic where they span more than a factor of ten.
        size: Width and height.
        write: A level's number.
    """
    frame = _Frame(lines, span, size)
    grid = "".join(_level(frame, value, write(value)) for value in frame.levels())
    width, height = size
    under = f'<text x="{LEFT}" y="{height - 6}">{escape(ends[0])}</text>'
    under += f'<text x="{width - RIGHT}" y="{height - 6}" text-anchor="end">{escape(ends[1])}</text>'
    drawn = "".join(map(frame.line, lines)) + "".join(map(frame.marks, lines))
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    return Markup(
        f'<svg class="curve" {box} role="img" aria-label="{escape(label)}">{grid}{under}{drawn}</svg>'
    )


def curve(steps: Sequence[int], values: Sequence[float], label: str) -> Markup:
    """Draw a training curve: every logged value faintly, and their running mean.

    The vertical scale is logarithmic where the values span more than a factor of ten.

    Args:
        steps: [n] increasing, n at least 2.
        values: [n] finite.
        label: What the drawing shows.
    """
    lines = [Line("raw", steps, values), Line("mean", steps, running(values))]
    return plot(lines, label, step_ends(steps))


def step_ends(steps: Sequence[int]) -> tuple[str, str]:
    """What stands under a drawing over steps."""
    return str(steps[0]), f"step {steps[-1]}"


def running(values: Sequence[float]) -> list[float]:
    """Running mean whose memory grows to about a twentieth of the curve."""
    memory = max(1.0, len(values) / 20)
    means = [values[0]]
    for count, value in enumerate(values[1:], start=2):
        weight = max(1 / count, 1 / memory)
        means.append((1 - weight) * means[-1] + weight * value)
    return means


class _Frame:
    """Where values stand in a drawing."""

    def __init__(
        self, lines: Sequence[Line], span: tuple[float, float] | None, size: tuple[float, float]
    ) -> None:
        ys, xs = [y for line in lines for y in line.ys], [x for line in lines for x in line.xs]
        self._low, self._high = span or (min(ys), max(ys))
        self._logarithmic = span is None and self._low > 0 and self._high / self._low > 10
        self._from, self._to = self._bent(self._low), self._bent(self._high)
        self._first, self._reach = min(xs), (max(xs) - min(xs)) or 1
        self.right, self._bottom = size[0] - RIGHT, size[1] - BOTTOM

    def _bent(self, value: float) -> float:
        return math.log(value) if self._logarithmic else value

    def levels(self) -> tuple[float, float, float]:
        """The lowest, the middle and the highest value."""
        middle = (self._from + self._to) / 2
        return self._low, math.exp(middle) if self._logarithmic else middle, self._high

    def y(self, value: float) -> float:
        share = (self._bent(value) - self._from) / ((self._to - self._from) or 1.0)
        return self._bottom - share * (self._bottom - TOP)

    def x(self, at: float) -> float:
        return LEFT + (at - self._first) / self._reach * (self.right - LEFT)

    def line(self, line: Line) -> str:
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(line.xs, line.ys, strict=True))
        return f'<polyline class="{line.kind}" points="{points}"/>'

    def marks(self, line: Line) -> str:
        return "".join(
            f'<circle class="dot {line.kind}" cx="{self.x(line.xs[place]):.1f}" '
            f'cy="{self.y(line.ys[place]):.1f}" r="{RADIUS}"/>'
            for place in line.marks
        )


def _level(frame: _Frame, value: float, number: str) -> str:
    y = frame.y(value)
    return (
        f'<line class="tick" x1="{LEFT}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number}</text>'
    )
