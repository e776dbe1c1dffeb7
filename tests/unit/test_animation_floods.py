"""Files of very many tiny pieces end when patience ends, whatever the pieces are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vidapt.video.animations import animation

PIECES = 50


def gif_of_blocks() -> bytes:
    return b"GIF89a" + bytes(7) + b"!\xff" + b"\x01a" * PIECES + b"\0;"


def gif_of_nothing() -> bytes:
    return b"GIF89a" + bytes(7) + b"\x01" * PIECES + b";;"


def png_of_chunks() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + (bytes(4) + b"tEXt" + bytes(4)) * PIECES


def webp_of_chunks() -> bytes:
    return b"RIFF\0\0\0\0WEBP" + (b"JUNK" + bytes(4)) * PIECES


@pytest.mark.parametrize(
    ("kind", "made"),
    [("GIF", gif_of_blocks), ("GIF", gif_of_nothing), ("PNG", png_of_chunks), ("WEBP", webp_of_chunks)],
)
def test_every_piece_asks_for_patience(tmp_path: Path, kind: str, made: Callable[[], bytes]) -> None:
    file = tmp_path / "flood"
    file.write_bytes(made())
    asked = []
    assert animation(file, kind, lambda: asked.append(1)).delays_s == ()
    assert len(asked) >= PIECES

    def impatient() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        animation(file, kind, impatient)


def test_pieces_in_front_of_the_default_picture_ask_as_well(tmp_path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + bytes(4)

    file = tmp_path / "flood.png"
    frame = chunk(b"fcTL", bytes(20) + b"\0\1\0\2" + bytes(2))
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"acTL", b"\0\0\0\1" + bytes(4))
    file.write_bytes(head + chunk(b"tEXt", b"") * PIECES + chunk(b"IDAT", b"") + frame)
    asked: list[int] = []
    found = animation(file, "PNG", lambda: asked.append(1))
    assert found.delays_s == (0.5,)
    assert found.skipped == 1
    assert len(asked) > 2 * PIECES
