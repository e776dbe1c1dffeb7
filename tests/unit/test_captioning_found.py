from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidapt.captioning.found import find_clips
from vidapt.errors import ConfigError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(source: Path, **options: bool) -> list[str]:
    return [clip.id for clip in find_clips(source, **options).clips]


def test_numbers_are_ordered_as_numbers_in_every_part_of_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "10.mp4", "2.mp4", "day 10/a.mov", "day 9/b.webm", "Day 2/c10.png", "Day 2/c9.gif")
    expected = ["2.mp4", "10.mp4", "Day 2/c9.gif", "Day 2/c10.png", "day 9/b.webm", "day 10/a.mov"]
    assert names(tmp_path) == expected
    assert names(tmp_path, recursive=False) == ["2.mp4", "10.mp4"]


def test_other_and_hidden_files_are_ignored_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.MP4", "a.json", "b.json", "notes.txt", "bare", "._a.mp4", ".cache/x.mp4")
    found = find_clips(tmp_path)
    assert [clip.id for clip in found.clips] == ["a.MP4"]
    assert found.ignored == {".json": 2, ".txt": 1, "": 1, "hidden .mp4": 1}


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    touch(root, "z/a.mp4", "one.mp4")
    touch(other, "b.mp4")
    (root / "a_link_to_z").symlink_to("z")
    (root / "z" / "up").symlink_to("..")
    (root / "z" / "away").symlink_to(other)
    (root / "again").symlink_to(other)
    (other / "back").symlink_to(root)
    (root / "two.mp4").symlink_to("one.mp4")
    assert names(root) == ["again/b.mp4", "one.mp4", "two.mp4", "z/a.mp4"]


def test_a_linked_folder_may_be_named(tmp_path: Path) -> None:
    touch(tmp_path / "real", "a.mp4")
    (tmp_path / "link").symlink_to("real")
    assert names(tmp_path / "link") == ["a.mp4"]


def test_a_folder_of_pictures_is_one_clip_only_when_asked(tmp_path: Path) -> None:
    touch(tmp_path, "walk/1.jpg", "walk/2.jpg", "mixed/1.jpg", "mixed/a.mp4")
    pictures = ["mixed/1.jpg", "mixed/a.mp4", "walk/1.jpg", "walk/2.jpg"]
    assert names(tmp_path) == pictures
    assert names(tmp_path, albums=True) == ["mixed/1.jpg", "mixed/a.mp4", "walk"]
    assert names(tmp_path / "walk", albums=True) == ["walk"]


def test_named_clips_are_taken_as_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "b.dat", "a.mp4", "album/1.png")
    paths = [tmp_path / "b.dat", tmp_path / "a.mp4", tmp_path / "b.dat", tmp_path / "album"]
    assert [clip.path.name for clip in find_clips(paths).clips] == ["a.mp4", "album", "b.dat"]
    assert names(tmp_path / "b.dat") == ["b.dat"]


def test_finding_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        find_clips(tmp_path / "absent")
    with pytest.raises(ConfigError, match="no such file or folder"):
        find_clips(tmp_path / ("n" * 300))
    touch(tmp_path, "a.txt", "b.txt")
    with pytest.raises(ConfigError, match="2 other files"):
        find_clips(tmp_path)
    with pytest.raises(ConfigError, match="no clip"):
        find_clips([])


def test_a_folder_that_may_not_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp4", "lost/b.mp4")
    listed = Path.iterdir

    def refuse(self: Path) -> object:
        if self.name == "lost":
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    found = find_clips(tmp_path)
    assert [clip.id for clip in found.clips] == ["a.mp4"]
    assert found.unreadable == {"lost": "the folder cannot be read (Permission denied)"}


@pytest.mark.parametrize("suffix", [".vob", ".mxf", ".asf", ".dv", ".3g2", ".MTS", ".heic", ".avif"])
def test_less_common_suffixes_are_clips_too(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a{suffix}", "b.mp4")
    assert names(tmp_path) == [f"a{suffix}", "b.mp4"]


def test_a_link_into_a_forbidden_place_costs_itself(open_path: Path, unprivileged: None) -> None:
    touch(open_path / "clips", "a.png", "c.png")
    touch(open_path / "walled", "b.png", "inside/d.png")
    (open_path / "clips" / "b.png").symlink_to(open_path / "walled" / "b.png")
    (open_path / "clips" / "e").symlink_to(open_path / "walled" / "inside")
    (open_path / "walled").chmod(0)
    try:
        found = find_clips(open_path / "clips")
    finally:
        (open_path / "walled").chmod(0o755)
    assert [clip.id for clip in found.clips] == ["a.png", "c.png"]
    assert found.unreadable == dict.fromkeys(("b.png", "e"), "it cannot be read (Permission denied)")


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o600, 0o100])
def test_a_folder_without_rights_costs_one_line(open_path: Path, unprivileged: None, mode: int) -> None:
    touch(open_path, "clips/a.png", *(f"clips/lost/{n}.png" for n in range(9)), "clips/z/b.png")
    lost = open_path / "clips" / "lost"
    lost.chmod(mode)
    try:
        found = find_clips(open_path / "clips")
        with pytest.raises(ConfigError, match="Permission denied"):
            find_clips(lost)
    finally:
        lost.chmod(0o755)
    assert [clip.id for clip in found.clips] == ["a.png", "z/b.png"]
    assert found.unreadable == {"lost": "the folder cannot be read (Permission denied)"}


def test_a_name_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.mp4")).write_bytes(b"x")
    (name,) = names(tmp_path)
    assert name.encode("utf-8")


def test_a_hidden_file_is_not_said_to_be_no_clip(tmp_path: Path) -> None:
    for name in ("a.mp4", ".b.mp4", "c.txt"):
        (tmp_path / name).touch()
    assert find_clips(tmp_path).ignored == {"hidden .mp4": 1, ".txt": 1}
