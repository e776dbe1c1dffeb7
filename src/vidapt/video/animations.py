"""When the frames of an animated picture are shown, by its file's structure: no pixel is decoded.

GIF: CompuServe's GIF89a. PNG: its third edition (W3C 2022), 11.3.3. WebP: RFC 9649, 2.7.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

Check = Callable[[], None]
"""Raises when patience ends."""


@dataclass(frozen=True, slots=True)
class Animation:
    """What a file holds.

    Attributes:
        delays_s: How long each frame asks to be shown; a still has one frame or none.
        skipped: Pictures in front of the first frame that only programs without animations show.
    """

    delays_s: tuple[float, ...]
    skipped: int = 0


def animation(path: Path, kind: str, check: Check) -> Animation:
    """Read the structure of a picture file.

    Args:
        path: The file.
        kind: Pillow's name of its format.
        check: Called for every piece of the file; raises when patience ends.
    """
    reader = {"GIF": _gif, "PNG": _png, "WEBP": _webp}.get(kind)
    if reader is None:
        return Animation(())
    with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
        delays = list(reader(data, check))
        skipped = int(kind == "PNG" and bool(delays) and _default_image(data, check))
    return Animation(tuple(delays), skipped)


def _gif(data: mmap.mmap, check: Check) -> Iterator[float]:
    at = 13 + _palette(data[10])
    delay = 0.0
    while at < len(data) - 1 and data[at] != 0x3B:
        check()
        if data[at] == 0x21:
            if data[at + 1] == 0xF9:
                delay = int.from_bytes(data[at + 4 : at + 6], "little") / 100
            at = _past_blocks(data, at + 2, check)
        elif data[at] == 0x2C and at + 10 < len(data):
            yield delay
            delay = 0.0
            at = _past_blocks(data, at + 11 + _palette(data[at + 9]), check)
        else:  # Pillow, too, passes over what it does not know byte by byte
            at += 1


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _past_blocks(data: mmap.mmap, at: int, check: Check) -> int:
    while at < len(data) and data[at]:
        check()
        at += data[at] + 1
    return at + 1


def _png(data: mmap.mmap, check: Check) -> Iterator[float]:
    """Frames up to the number that the file announces; without one it is no animation."""
    count = 0
    for name, at, _ in png_chunks(data):
        check()
        if name == b"acTL":
            count = int.from_bytes(data[at : at + 4], "big")
        elif name == b"IDAT" and not count:
            return
        elif name == b"fcTL" and count > 0:
            count -= 1
            top, bottom = (int.from_bytes(data[at + k : at + k + 2], "big") for k in (20, 22))
            yield top / (bottom or 100)
            if not count:
                return


def _default_image(data: mmap.mmap, check: Check) -> bool:
    """Whether the picture that plain PNG readers show is no frame: no frame is announced in front of it."""
    for name, _, _ in png_chunks(data):
        check()
        if name in (b"fcTL", b"IDAT"):
            return name == b"IDAT"
    return False


def png_chunks(data: mmap.mmap | bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and size of the content of every chunk of a PNG file."""
    at = 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield bytes(data[at + 4 : at + 8]), at + 8, size
        at += 12 + size


def _webp(data: mmap.mmap, check: Check) -> Iterator[float]:
    at = 12
    while at + 8 <= len(data):
        check()
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"ANMF" and at + 23 <= len(data):
            yield int.from_bytes(data[at + 20 : at + 23], "little") / 1000
        at += 8 + size + size % 2
