"""Opens one picture file, and turns what goes wrong into `BrokenClip`.

A file is opened by the plugin its first bytes ask for, never by Pillow's search through all of its formats.
Its size is checked here before any pixel is decoded, so that Pillow's global limit, which belongs to the
user's program, need not be touched.
"""

from __future__ import annotations

import importlib
import mmap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vidapt.errors import BrokenClip
from vidapt.video.animations import png_chunks
from vidapt.video.container import check_file, check_pixels
from vidapt.video.limits import Limits

_PLUGINS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
}

_AVIF = frozenset({b"avif"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1"})
"""Brands of single pictures (ISO 23008-12); those of sequences are films."""

_ORIENTATION, _WIDTH, _HEIGHT = 0x0112, 256, 257
_LYING = (5, 6, 7, 8)
"""Orientations in which rows are columns."""

_MOST_REDUCED = 8
"""How many times more pixels than the limit a JPEG may have that is decoded at a fraction of its size."""


def looks_like_picture(path: Path) -> bool:
    """Whether a file starts like a picture."""
    head = _head(path)
    return _plugin(head) is not None or _brand(head) in _HEIC


@contextmanager
def guarded_picture(path: Path) -> Iterator[None]:
    """Turn what goes wrong inside into `BrokenClip`."""
    try:
        yield
    except (BrokenClip, MemoryError):
        raise
    except Exception as error:
        raise BrokenClip(path, f"it cannot be decoded as a picture ({error})") from error


@contextmanager
def picture(
    path: Path, limits: Limits, target: tuple[int, int] | None = None, *, headers: bool = False
) -> Iterator[ImageFile.ImageFile]:
    """Open a picture; nothing of it is decoded yet.

    A JPEG beyond the limit of pixels is opened so that it is decoded at a half, a quarter or an eighth of its
    size, where that is still as large as the `target`.

    Args:
        path: The file.
        limits: What it may cost.
        target: (height, width) it will be resized to; None if it will not be.
        headers: Whether nothing of it will be decoded.

    Raises:
        BrokenClip: If it is none, or too large.
    """
    check_file(path, limits)
    head = _head(path)
    plugin = _plugin(head) or _heic(path, head)
    with guarded_picture(path):
        image = plugin(path)
    with image:
        if not (headers and _may_be_reduced(image, limits)):
            if target is not None and _may_be_reduced(image, limits):
                with guarded_picture(path):
                    # An orientation that turns is not known yet: large enough either way.
                    image.draft("RGB", (max(target), max(target)))
            check_pixels(path, *image.size, limits)
        yield image


def _may_be_reduced(image: ImageFile.ImageFile, limits: Limits) -> bool:
    """Whether a picture beyond the limit of pixels can be decoded at a fraction of its size."""
    pixels = image.size[0] * image.size[1]
    if not (image.format == "JPEG" and limits.pixels < pixels <= _MOST_REDUCED * limits.pixels):
        return False
    # Of a progressive one the decoder holds all coefficients, two bytes each of three colours.
    return not image.info.get("progressive") or 6 * pixels <= limits.memory_bytes


def upright_size(path: Path, image: ImageFile.ImageFile) -> tuple[int, int]:
    """(width, height) of a picture with its orientation applied, whether it was decoded or not."""
    with guarded_picture(path):
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # The plugin turns pictures itself, and their size before or after that, by its version.
            width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
            lying = image.tag_v2.get(_ORIENTATION, 1) in _LYING
        else:
            width, height = image.size
            lying = _orientation(path, image) in _LYING
    return (height, width) if lying else (width, height)


def _orientation(path: Path, image: ImageFile.ImageFile) -> int:
    if isinstance(image, PngImagePlugin.PngImageFile):
        if _tells_late(path):
            image.load()
        # The plugin's own method decodes every picture to look behind the pixels.
        return int(Image.Image.getexif(image).get(_ORIENTATION, 1))
    return int(image.getexif().get(_ORIENTATION, 1))


def _tells_late(path: Path) -> bool:
    """Whether a PNG file says something behind its pixels that may turn it."""
    with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
        behind = False
        for name, _, _ in png_chunks(data):
            if behind and name in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            behind = behind or name == b"IDAT"
    return False


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError:  # whoever opens it as a video finds out what is wrong
        return b""


def _brand(head: bytes) -> bytes:
    """What an ISO base media file says it is."""
    if head[4:8] != b"ftyp":
        return b""
    # `mif1` alone says that it is a picture, and the next brands of which kind.
    return b"avif" if head[8:12] == b"mif1" and b"avif" in head[16:] else head[8:12]


def _plugin(head: bytes) -> type[ImageFile.ImageFile] | None:
    if head[:4] == b"RIFF":
        return WebPImagePlugin.WebPImageFile if head[8:12] == b"WEBP" else None
    if _brand(head) in _AVIF:
        return AvifImagePlugin.AvifImageFile
    return next((plugin for start, plugin in _PLUGINS.items() if head.startswith(start)), None)


def _heic(path: Path, head: bytes) -> type[ImageFile.ImageFile]:
    """The plugin for HEIC, which an optional package brings.

    FFmpeg would show one of the tiles that a telephone's camera cuts its pictures into.
    """
    if _brand(head) not in _HEIC:
        raise BrokenClip(path, "it is not a picture")
    try:
        plugin = importlib.import_module("pillow_heif").HeifImageFile
    except ImportError as error:
        raise BrokenClip(path, "it is a HEIC picture; install `vidapt[heic]` to read such") from error
    return cast("type[ImageFile.ImageFile]", plugin)
