"""What tells clips' contents apart, and what does not count."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vidapt.video.identity import WHOLE, identity
from vidapt.video.pictures import pictures_in


@pytest.mark.parametrize("size", [10, 3 << 18, (3 << 18) + 1, 5 << 20])
def test_a_change_of_content_changes_the_identity(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    content = bytearray(size)
    path.write_bytes(content)
    seen = {identity(path)}
    for place in (0, size // 2, size - 1):
        content[place] ^= 1
        path.write_bytes(content)
        seen.add(identity(path))
    path.write_bytes(content + b"\0")
    seen.add(identity(path))
    assert len(seen) == 5


def test_the_identity_does_not_depend_on_name_and_time(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    os.utime(tmp_path / "b.mp4", (1, 1))
    assert identity(tmp_path / "a.mp4") == identity(tmp_path / "b.mp4")


def album(folder: Path, pictures: int) -> Path:
    folder.mkdir()
    for number in range(pictures):
        (folder / f"{number:02}.jpg").write_bytes(b"x")
    return folder


def test_the_identity_of_an_album_is_that_of_its_pictures(tmp_path: Path) -> None:
    walk = album(tmp_path / "walk", 2)
    seen = [identity(walk)]
    (walk / "01.jpg").write_bytes(b"y")
    seen.append(identity(walk))
    (walk / "01.jpg").rename(walk / "03.jpg")
    seen.append(identity(walk))
    assert len(set(seen)) == 3
    walk.rename(tmp_path / "stroll")
    assert identity(tmp_path / "stroll") == seen[-1]


def test_what_is_no_picture_does_not_belong_to_an_album(tmp_path: Path) -> None:
    walk = album(tmp_path / "walk", 2)
    before = identity(walk)
    (walk / "labels.json").write_text("{}", encoding="utf-8")
    (walk / "more.jpg").mkdir()
    assert identity(walk) == before


def test_all_pictures_of_a_small_album_are_read_and_a_few_of_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    plain = Path.open

    def watching(path: Path, mode: str) -> object:
        opened.append(path.name)
        return plain(path, mode)

    albums = [album(tmp_path / str(pictures), pictures) for pictures in (16, 17, 99)]
    monkeypatch.setattr(Path, "open", watching)
    for folder in albums:
        opened.clear()
        identity(folder)
        assert len(set(opened)) == 16
        assert opened[0] == "00.jpg"
        assert opened[-1] == f"{int(folder.name) - 1:02}.jpg"


def test_the_size_of_every_picture_of_a_large_album_counts(tmp_path: Path) -> None:
    walk = album(tmp_path / "walk", 40)
    seen = {identity(walk)}
    for number in range(40):
        (walk / f"{number:02}.jpg").write_bytes(b"xx")
        seen.add(identity(walk))
    assert len(seen) == 41


def test_pictures_of_equal_numbers_have_one_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / name for name in ("1.png", "01.png", "001.png", "A.png", "a.png")]
    for file in files:
        file.write_bytes(b"x")
    orders = []
    for given in (files, files[::-1]):
        monkeypatch.setattr(Path, "iterdir", lambda folder, given=given: iter(given))
        orders.append(pictures_in(tmp_path))
    assert orders[0] == orders[1]


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert identity(tmp_path / "pipe.mp4")


@pytest.mark.parametrize("size", [5 << 20, (24 << 20) + 77])
def test_a_64th_of_a_file_cannot_change_unseen(size: int, tmp_path: Path) -> None:
    """Wherever it lies: a copy that lost a stretch, or footage that was encoded anew."""
    path = tmp_path / "a.mp4"
    content = np.random.default_rng(0).integers(1, 256, size, np.uint8)
    path.write_bytes(content)
    seen = {identity(path)}
    stretch = size // 64 + 1
    starts = [*range(0, size - stretch, size // 23), size - stretch]
    for start in starts:
        changed = content.copy()
        changed[start : start + stretch] = 0
        path.write_bytes(changed)
        seen.add(identity(path))
    assert len(seen) == len(starts) + 1


def test_every_byte_of_a_small_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    content = bytearray(WHOLE)
    path.write_bytes(content)
    seen = {identity(path)}
    for place in range(0, WHOLE, 400_001):
        content[place] ^= 1
        path.write_bytes(content)
        seen.add(identity(path))
    assert len(seen) == 12
