"""What a checkpoint's processor files say about pixels, as the parts that do the same.

Source: transformers' `preprocessor_config.json`, `video_preprocessor_config.json`, and the
`processor_config.json` that unites them since 5.x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidapt.errors import CheckpointError
from vidapt.hub._files import read_json_if_there
from vidapt.recipe import Spec

FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for filters."""

Kind = Literal["image", "video"]
_OWN: Mapping[Kind, str] = {
    "image": "preprocessor_config.json",
    "video": "video_preprocessor_config.json",
}
"""Files of one kind of processor."""

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
"""SigLIP's mean and deviation."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """How frames become the tower's input.

    Attributes:
        resolution: Specification of the resolution part.
        mean: Per channel, in 0..1.
        std: Per channel, in 0..1.
    """

    resolution: Spec
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_pixels(folder: Path, side: int, *, video: bool) -> Pixels:
    """Read how a checkpoint prepares frames; without processor files, as CLIP does.

    Args:
        folder: The checkpoint.
        side: Side of the tower's input in pixels.
        video: Whether the video processor's settings go before the image processor's.

    Raises:
        CheckpointError: If frames are prepared in a way no resolution part does.
    """
    where, fields = settings(folder, video=video)
    used = filter_of(fields, where)
    mean = tuple(fields.get("image_mean", CLIP_MEAN))
    std = tuple(fields.get("image_std", CLIP_STD))
    fit = _fit(fields, side, where)
    if fit == "pad":
        colour = [int(255 * channel) for channel in mean]
        return Pixels({"kind": "pad", "colour": colour, "filter": used}, mean, std)
    return Pixels({"kind": "whole", "fit": fit, "filter": used}, mean, std)


def settings(folder: Path, *, video: bool) -> tuple[Path, dict[str, Any]]:
    """The file that decides, and what it says; an empty dict if there is none.

    Args:
        folder: The checkpoint.
        video: Whether the video processor's settings go before the image processor's.
    """
    where, fields = processor(folder, "video") if video else (folder, {})
    return (where, fields) if fields else processor(folder, "image")


def processor(folder: Path, kind: Kind) -> tuple[Path, dict[str, Any]]:
    """What the files say about stills, or about videos, and which of them; an empty dict if none does."""
    own = folder / _OWN[kind]
    fields = read_json_if_there(own)
    if fields:
        return own, fields
    united = folder / "processor_config.json"
    fields = (read_json_if_there(united) or {}).get(f"{kind}_processor")
    return (united, fields) if fields else (own, {})


def filter_of(fields: Mapping[str, Any], where: Path) -> str:
    """The filter by which frames are resized.

    Raises:
        CheckpointError: If no resolution has it, or frames are not resized at all.
    """
    resample = fields.get("resample", 3)
    if resample not in FILTERS or not fields.get("do_resize", True):
        raise CheckpointError(
            where, f"resample {resample!r} cannot be reproduced", "known: 2 bilinear, 3 bicubic"
        )
    return FILTERS[resample]


def _fit(fields: Mapping[str, Any], side: int, where: Path) -> str:
    size, crop = _sides(fields.get("size", side)), _sides(fields.get("crop_size", side))
    if size - {side} or crop - {side}:
        raise CheckpointError(
            where,
            f"frames of {sorted(size | crop)} pixels are prepared for a tower of {side}",
            "only processors that resize to the tower's own size can be reproduced",
        )
    if fields.get("do_pad") and "image_grid_pinpoints" not in fields:  # there it is said of batches of tiles
        return "pad"
    # SigLIP's processors, which do not crop, name two sides; CLIP's name the shortest, and what is cut out.
    given = fields.get("size")
    squashes = "crop_size" not in fields and isinstance(given, dict) and "height" in given
    return "crop" if fields.get("do_center_crop", not squashes) else "squash"


def _sides(size: Any) -> set[int]:
    return {int(side) for side in (size.values() if isinstance(size, dict) else [size]) if side is not None}
