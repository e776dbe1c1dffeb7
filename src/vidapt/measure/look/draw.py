"""Maps over frames as heat, and several models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vidapt.measure.look.area import WHOLE, Area

Pixels = NDArray[np.uint8]
Heat = NDArray[np.float64]

LONG_SIDE = 360
"""Pixels of a panel's longer side."""

_HEAT = np.array([[20, 20, 90], [120, 20, 140], [225, 60, 60], [250, 170, 30], [255, 250, 160]], np.float64)
"""Colours from cold to hot, each brighter than the one before."""

_OPAQUE = 0.75
_GAP, _LINE, _MARGIN, _BAR = 6, 15, 5, 3
_PAPER, _INK, _FAINT, _CLOCK = (24, 24, 28), (240, 240, 240), (165, 165, 172), (250, 170, 30)
_FONT_SIZE = 11


@dataclass(frozen=True)
class Panel:
    """One model's map of a clip.

    Attributes:
        lines: What stands below it, the name first.
        frames: [T, H, W, 3] uint8.
        times_s: [T], seconds from the first frame of the file.
        heat: [T, h, w] in 0..1.
        area: What part of the frames the map covers.
    """

    lines: tuple[str, ...]
    frames: Pixels
    times_s: NDArray[np.float64]
    heat: Heat
    area: Area = WHOLE


def stretched(values: Heat) -> Heat:
    """A map brought to 0..1 over the whole clip; an even one becomes 0."""
    low, high = float(values.min()), float(values.max())
    return np.zeros_like(values) if high <= low else (values - low) / (high - low)


def overlay(frame: Pixels, heat: Heat, area: Area = WHOLE) -> Pixels:
    """Lay a map over a frame, between the middles of its patches linearly.

    Args:
        frame: [H, W, 3] uint8.
        heat: [h, w] in 0..1; 0 leaves the frame as it is.
        area: What part of the frame the map covers.

    Returns:
        [H, W, 3] uint8.
    """
    down = _reach(frame.shape[0], heat.shape[0], area.top, area.height)
    across = _reach(frame.shape[1], heat.shape[1], area.left, area.width)
    warm = (down @ heat @ across.T)[..., None]
    steps = warm * (len(_HEAT) - 1)
    below = np.clip(np.floor(steps).astype(int), 0, len(_HEAT) - 2)[..., 0]
    part = steps - below[..., None]
    colour = _HEAT[below] * (1 - part) + _HEAT[below + 1] * part
    mixed = frame + _OPAQUE * warm * (colour - frame)
    laid: Pixels = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return laid


def film(panels: Sequence[Panel]) -> Pixels:
    """All models side by side.

    The first one's frames set the pace; of each other model the frame nearest in time is shown.

    Args:
        panels: At least one.

    Returns:
        [T, H, W, 3] uint8.
    """
    pace = panels[0].times_s
    tiles = []
    for index, moment in enumerate(pace):
        nearest = [index if k == 0 else _nearest(panel, moment) for k, panel in enumerate(panels)]
        drawn = [_panel(panel, at) for panel, at in zip(panels, nearest, strict=True)]
        tiles.append(_side_by_side(drawn, (index + 1) / len(pace), float(moment)))
    return np.stack(tiles)


def grid(tiles: Pixels) -> Pixels:
    """Frames of a film as one picture, row by row, about as many rows as columns.

    Args:
        tiles: [T, H, W, 3] uint8.

    Returns:
        [rows H, columns W, 3] uint8.
    """
    count, height, width = tiles.shape[:3]
    columns = max(1, min(count, round((count * height / width) ** 0.5)))
    rows = -(-count // columns)
    sheet = np.full((rows * columns, height, width, 3), _PAPER, np.uint8)
    sheet[:count] = tiles
    ordered = sheet.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(ordered.reshape(rows * height, columns * width, 3))


def _reach(pixels: int, cells: int, first: float, length: float) -> NDArray[np.float64]:
    """[pixels, cells]: how much each cell counts for a pixel, linearly between middles; 0 beyond the area."""
    place = ((np.arange(pixels) + 0.5) / pixels - first) / length
    at = np.clip(place * cells - 0.5, 0, cells - 1)
    weight = np.clip(1 - np.abs(at[:, None] - np.arange(cells)), 0, None)
    inside = (place >= 0) & (place <= 1)
    reach: NDArray[np.float64] = weight * inside[:, None]
    return reach


def _nearest(panel: Panel, moment: float) -> int:
    return int(np.abs(panel.times_s - moment).argmin())


def laid_over(panel: Panel, index: int) -> Image.Image:
    """One frame with its map, its longer side `LONG_SIDE`."""
    picture = sized(panel.frames[index])
    return Image.fromarray(overlay(np.asarray(picture), panel.heat[index], panel.area))


def sized(frame: Pixels, long_side: int = LONG_SIDE) -> Image.Image:
    """A frame, [H, W, 3] uint8, as a picture whose longer side has so many pixels."""
    scale = long_side / max(frame.shape[:2])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)


def _panel(panel: Panel, index: int) -> Image.Image:
    laid = laid_over(panel, index)
    # A narrow picture still gets room for its words.
    whole = Image.new("RGB", (LONG_SIDE, laid.height + len(panel.lines) * _LINE + 2 * _MARGIN), _PAPER)
    whole.paste(laid, ((LONG_SIDE - laid.width) // 2, 0))
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(_FONT_SIZE)
    for row, line in enumerate(panel.lines):
        at = (_MARGIN, laid.height + _MARGIN + row * _LINE)
        pen.text(at, _fitting(pen, line, font), fill=_INK if row == 0 else _FAINT, font=font)
    return whole


def _fitting(pen: ImageDraw.ImageDraw, line: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """As much of a line as a panel has room for."""
    room, kept = LONG_SIDE - 2 * _MARGIN, line
    while kept and pen.textlength(kept if kept == line else f"{kept}...", font=font) > room:
        kept = kept[:-1]
    return kept if kept == line else f"{kept}..."


def _side_by_side(drawn: Sequence[Image.Image], elapsed: float, moment: float) -> Pixels:
    """Panels in a row; a line at the bottom shows how much of the clip has passed."""
    width = sum(panel.width for panel in drawn) + _GAP * (len(drawn) - 1)
    height = max(panel.height for panel in drawn)
    row = Image.new("RGB", (width, height + _LINE + _BAR), _PAPER)
    left = 0
    for panel in drawn:
        row.paste(panel, (left, 0))
        left += panel.width + _GAP
    pen = ImageDraw.Draw(row)
    font = ImageFont.load_default(_FONT_SIZE)
    pen.text((_MARGIN, height - 2), f"{moment:.2f} s", fill=_FAINT, font=font)
    pen.rectangle((0, height + _LINE, max(0, round(width * elapsed) - 1), row.height), fill=_CLOCK)
    return np.asarray(row)
