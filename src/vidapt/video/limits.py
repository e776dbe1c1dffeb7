"""How much one clip may cost. Footage is untrusted: a few bytes can claim to be hours of 16k video."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one clip may cost before it is refused as a `BrokenClip`.

    Attributes:
        pixels: Width times height of one frame (default: 8192 x 4320).
        seconds: Length of a clip.
        file_bytes: Size of a file, or of all images of a folder together.
        frames: Frames handed back for one clip, and images in a folder.
        memory_bytes: Size of the decoded frames handed back for one clip: frames times pixels times 3.
        wall_s: Seconds of wall clock spent on one clip, checked between packets.
    """

    pixels: int = 8192 * 4320
    seconds: float = 12 * 3600.0
    file_bytes: int = 64 * 1024**3
    frames: int = 8192
    memory_bytes: int = 512 * 1024**2
    wall_s: float = 120.0


DEFAULT = Limits()
