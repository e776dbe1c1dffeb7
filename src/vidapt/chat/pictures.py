"""Frames as they are sent."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

from PIL import Image

from vidapt.chat.asked import Picture
from vidapt.nouns import Frames


def pictures_of(frames: Frames, quality: int) -> Iterator[Picture]:
    """Frames as they are sent, JPEGs of a quality between 1 and 95."""
    for pixels, moment in zip(frames.pixels, frames.moments.seconds, strict=True):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        height, width = pixels.shape[:2]
        own = hashlib.sha256(f"{height}x{width}@{quality}:".encode() + pixels.tobytes()).hexdigest()[:32]
        yield Picture(file.getvalue(), round(moment, 3), (height, width), own)
