"""Small drawings as inline SVG: numbers and escaped labels, coloured by the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT, EDGE = 260.0, 26.0, 12.0


@dataclass(frozen=True, slots=True)
class Point:
    """One mark on a scale from 0 to 1.

    Attributes:
        kind: Class of the mark: a control such as blind or one_frame, first, between or last.
        label: What it stands for.
        value: Where it stands.
        low: Lower end of its interval.
        high: Upper end.
    """

    kind: str
    label: str
    value: float
    low: float
    high: float


def scale(points: Sequence[Point]) -> Markup:
    """Draw marks with their intervals on a scale from 0 to 100 %; intervals of controls are left out."""
    middle = HEIGHT / 2
    spoken = ", ".join(
        f"{p.label} {100 * p.value:.0f} % ({100 * p.low:.0f} to {100 * p.high:.0f})" for p in points
    )
    ticks = "".join(
        f'<line class="tick" x1="{_x(at):.1f}" x2="{_x(at):.1f}" y1="4" y2="{HEIGHT - 4:.0f}"/>'
        for at in (0, 0.25, 0.5, 0.75, 1)
    )
    drawn = "".join(_mark(point, middle) for point in points)
    axis = f'<line class="axis" x1="{_x(0):.1f}" x2="{_x(1):.1f}" y1="{middle}" y2="{middle}"/>'
    return _scale(spoken, ticks + axis + drawn)


def ruler() -> Markup:
    """The numbers over the scales of a table."""
    marks = "".join(
        f'<text x="{_x(at):.1f}" y="{HEIGHT - 8:.0f}" text-anchor="middle">{100 * at:.0f}</text>'
        for at in (0, 0.5, 1)
    )
    return _scale("scale from 0 to 100 percent", marks)


def _scale(label: str, drawn: str) -> Markup:
    box = f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}"'
    return Markup(f'<svg class="scale" {box} role="img" aria-label="{escape(label)}">{drawn}</svg>')


_PLAIN = frozenset({"majority", "blind", "other_clip", "shuffled_frames", "one_frame"})
"""Kinds of marks without an interval."""


def sign(kind: str) -> Markup:
    """The mark of a kind alone, for the legend."""
    drawn = _shape(kind, 9.0, 9.0)
    return Markup(f'<svg class="sign" viewBox="0 0 18 18" aria-hidden="true">{drawn}</svg>')


def _x(share: float) -> float:
    return EDGE + min(max(share, 0.0), 1.0) * (WIDTH - 2 * EDGE)


def _mark(point: Point, y: float) -> str:
    x = _x(point.value)
    if point.kind in _PLAIN:
        return _shape(point.kind, x, y)
    ends = f'x1="{_x(point.low):.1f}" x2="{_x(point.high):.1f}"'
    whisker = f'<line class="whisker {point.kind}" {ends} y1="{y}" y2="{y}"/>'
    return whisker + _shape(point.kind, x, y)


def _shape(kind: str, x: float, y: float) -> str:
    if kind == "majority":
        return f'<line class="majority" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 6}" y2="{y + 6}"/>'
    if kind == "blind":
        return f'<path class="blind" d="M{x:.1f} {y - 4.5}l4.5 4.5l-4.5 4.5l-4.5 -4.5z"/>'
    if kind == "other_clip":
        return f'<path class="other_clip" d="M{x - 3.5:.1f} {y - 3.5}l7 7m0 -7l-7 7"/>'
    if kind == "shuffled_frames":
        return f'<path class="shuffled_frames" d="M{x - 4.5:.1f} {y - 2.5}l3 5l3 -5l3 5"/>'
    if kind == "one_frame":
        return f'<path class="one_frame" d="M{x - 3.5:.1f} {y - 3.5}h7v7h-7z"/>'
    return f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y}" r="4.5"/>'
