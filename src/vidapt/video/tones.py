"""A picture of any kind of pixels as RGB of 8 bits, as a viewer shows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from vidapt.video.pixels import BACKGROUND

_BAND = 256
"""Rows converted together, so that what is made on the way stays small."""

_BITS, _PHOTOMETRIC, _SAMPLE = 258, 262, 339
"""Tags of TIFF 6.0: bits a sample, what 0 means, kind of number."""


def to_rgb(image: Image.Image) -> tuple[NDArray[np.uint8], str]:
    """Convert a picture.

    Greys of more than 8 bits are scaled so that their largest number is white. Of 32 bits the largest number
    is that of the fewest bits (8, 16, 31 or 32) that hold all of them, since such files often hold fewer.
    Fractions from 0 to 1 go from black to white; others, and numbers below 0, are stretched from the least
    to the greatest, which is told. What is transparent shows `BACKGROUND`.

    Args:
        image: As Pillow opened it; it may be changed.

    Returns:
        [H, W, 3]; and what a user should know, empty if nothing.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _greys(image)
    if image.has_transparency_data:
        return np.asarray(_on_background(image)), ""
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), ""


def _on_background(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    shown = image if image.mode == "RGBA" else image.convert("RGBA")
    paper = Image.new("RGB", shown.size, (BACKGROUND,) * 3)
    paper.paste(shown, mask=shown)
    return paper


def _greys(image: Image.Image) -> tuple[NDArray[np.uint8], str]:
    values = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode == "I" and tags and _first(tags.get(_SAMPLE), 1) == 1:
        values = values.view(np.uint32)  # Pillow knows no numbers without a sign of this size
    black, white, note = _range(values, image, _first(tags.get(_BITS), 16))
    if tags.get(_PHOTOMETRIC) == 0 and values.dtype.kind in "iu":
        black, white = white, black
    grey = np.empty(values.shape, np.uint8)
    for at in range(0, len(values), _BAND):
        share = (values[at : at + _BAND].astype(np.float64) - black) / (white - black or 1.0)
        grey[at : at + _BAND] = np.rint(
            np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255
        )
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):  # the one value that stands for nothing
        grey[values == hidden] = BACKGROUND
    return np.repeat(grey[..., None], 3, axis=2), note


def _first(value: object, otherwise: int) -> int:
    if isinstance(value, tuple):
        value = value[0] if value else None
    return value if isinstance(value, int) else otherwise


def _range(values: NDArray[np.generic], image: Image.Image, bits: int) -> tuple[float, float, str]:
    """The numbers that are black and white, and what is to be told of them."""
    if image.mode.startswith("I;16"):
        return 0.0, float((1 << min(bits, 16)) - 1), ""
    least, greatest = _extremes(values)
    if image.mode == "F":
        whites = [1.0]
    elif image.format == "PNG":
        whites = [65535.0]
    else:
        whites = [float((1 << size) - 1) for size in (8, 16, 31, 32)]
    white = next((white for white in whites if greatest <= white), None)
    if white is not None and least >= 0:
        return 0.0, white, ""
    return least, greatest, f"its greys from {least:g} to {greatest:g} were stretched from black to white"


def _extremes(values: NDArray[np.generic]) -> tuple[float, float]:
    """Least and greatest of the numbers that are finite; 0 and 0 if none is."""
    least, greatest = np.inf, -np.inf
    for at in range(0, len(values), _BAND):
        band = values[at : at + _BAND]
        finite = band[np.isfinite(band)]
        if finite.size:
            least, greatest = min(least, float(finite.min())), max(greatest, float(finite.max()))
    return (least, greatest) if least <= greatest else (0.0, 0.0)
