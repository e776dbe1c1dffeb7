"""Clips inside a page: small enough to carry, in a form every browser plays."""

from __future__ import annotations

import base64
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip
from vidapt.video import Probe, Uniform, decode, probe, write_mp4

PLAYED = frozenset({".mp4", ".m4v"})
PREVIEW_FRAMES, PREVIEW_WIDTH = 24, 320


@dataclass(frozen=True, slots=True)
class Shown:
    """A clip as a page carries it.

    Attributes:
        video: Its data URI; empty for a still, or if it is too large.
        poster: Data URI of a picture from its middle; empty if the clip cannot be used.
        width: Pixels.
        height: Pixels.
        note: What differs from the file, or why nothing is shown.
    """

    video: str
    poster: str
    width: int
    height: int
    note: str = ""


def show(clip: Clip, limit: int) -> Shown:
    """Prepare a clip for a page.

    A whole H.264 file in MP4 is taken as it is; anything else becomes a preview of a few frames.

    Args:
        clip: What to show.
        limit: Most characters its video may take.
    """
    try:
        described = probe(clip.path)
        width = min(PREVIEW_WIDTH, described.width)
        height = max(1, round(described.height * width / described.width))
        count = PREVIEW_FRAMES if described.kind != "still" else 1
        pixels = decode(clip, Uniform(count=count), size=(height, width)).pixels
    except BrokenClip as error:
        return Shown("", "", 16, 9, f"This clip cannot be shown: {error.reason}.")
    poster = _jpeg(pixels[len(pixels) // 2])
    if described.kind == "still":
        return Shown("", poster, width, height)
    video, note = _video(clip, described, pixels, limit)
    return Shown(video, poster, width, height, note)


def thumbnail(clip: Clip, width: int = 160) -> str:
    """Data URI of a small picture from a clip's middle; empty if it cannot be used."""
    try:
        described = probe(clip.path)
        width = min(width, described.width)
        height = max(1, round(described.height * width / described.width))
        return _jpeg(decode(clip, Uniform(count=1), size=(height, width)).pixels[0])
    except BrokenClip:
        return ""


def _video(clip: Clip, described: Probe, pixels: NDArray[np.uint8], limit: int) -> tuple[str, str]:
    if _plays(clip, described) and clip.path.stat().st_size * 4 / 3 + 64 < limit:
        return _uri("video/mp4", clip.path.read_bytes()), ""
    seconds = (clip.end_s or described.duration_s) - clip.start_s
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "preview.mp4"
        write_mp4(path, pixels, min(max(len(pixels) / max(seconds, 1e-3), 2.0), 12.0), crf=30)
        preview = _uri("video/mp4", path.read_bytes())
    if len(preview) > limit:
        return "", "A picture from the middle; the clip is too large to carry."
    return preview, f"A preview of {len(pixels)} frames."


def _plays(clip: Clip, described: Probe) -> bool:
    whole = clip.start_s == 0 and clip.end_s is None
    return whole and described.codec == "h264" and clip.path.suffix.lower() in PLAYED


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    return _uri("image/jpeg", file.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
