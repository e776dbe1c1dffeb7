"""Clips are kept under their content: a copy is the same clip, another clip in its place is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from training_tools import video_lm, write_clips

from vidapt.nouns import Clip
from vidapt.recipe import Cache
from vidapt.training import footprints as footprints_module
from vidapt.training.footage import Footage
from vidapt.training.keys import ClipKeys


def key(path: Path, start_s: float = 0.0, end_s: float | None = None) -> str:
    return ClipKeys()(Clip("a", path, start_s, end_s))


def test_another_content_or_stretch_is_another_clip(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1")
    os.utime(path, ns=(1, 1))
    first = key(path)
    assert len({first, key(path, 1.0), key(path, 0.0, 2.0), key(path, 1.0, 2.0)}) == 4
    os.utime(path, ns=(2, 2))
    assert key(path) == first
    path.write_bytes(b"2")
    os.utime(path, ns=(1, 1))
    assert key(path) != first


def test_a_moved_clip_is_the_same_under_its_suffix(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.MP4", "c.avi"):
        (tmp_path / name).write_bytes(b"1")
    assert key(tmp_path / "a.mp4") == key(tmp_path / "b.MP4") != key(tmp_path / "c.avi")


def test_a_file_of_many_stretches_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1")
    looked: list[Path] = []
    plain = footprints_module.identity
    monkeypatch.setattr(footprints_module, "identity", lambda path: [looked.append(path), plain(path)][1])
    keys, clips = ClipKeys(), [Clip("a", path, float(start)) for start in range(5)]
    keys.look(clips)
    assert len({keys(clip) for clip in clips}) == 5
    assert looked == [path]


def test_what_cannot_be_read_is_found_under_no_key(tmp_path: Path) -> None:
    keys, clip = ClipKeys(), Clip("a", tmp_path / "lost.mp4")
    assert keys(clip) == keys(clip)
    assert keys(clip) != ClipKeys()(clip)


def one_footage(folder: Path) -> Footage:
    return Footage(video_lm(), Cache(), folder, tower_trains=False, needs_views=False, workers=0)


def features(folder: Path, *paths: Path) -> tuple[list[tuple[int, int]], torch.Tensor]:
    """Progress, and what the tower sees of clips."""
    footage, told = one_footage(folder), list[tuple[int, int]]()
    items = [(Clip(path.name, path), 1) for path in paths]
    assert footage.prepare(items, lambda done, total: told.append((done, total))) == {}
    return told, footage.seen(items)[0].features[0].x


def test_another_clip_of_equal_name_size_and_time_is_seen_anew(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", clips=2)
    first, second = (tmp_path / "clips" / f"{number}.mp4" for number in range(2))
    size = max(first.stat().st_size, second.stat().st_size)
    for path in (first, second):  # a decoder does not mind what is behind the end
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    path, seen = tmp_path / "a.mp4", []
    for source in (first, second):
        shutil.copy(source, path)
        os.utime(path, ns=(10**18, 10**18))
        seen.append(features(tmp_path / "cache", path)[1])
    assert torch.equal(seen[1], features(tmp_path / "other", second)[1])
    assert not torch.equal(*seen)


def test_a_moved_data_set_is_not_computed_again(tmp_path: Path) -> None:
    write_clips(tmp_path / "here", clips=2)
    files = [tmp_path / "here" / f"{number}.mp4" for number in range(2)]
    told, before = features(tmp_path / "cache", *files)
    assert told == [(0, 2), (1, 2), (2, 2)]
    (tmp_path / "here").rename(tmp_path / "there")
    told, after = features(tmp_path / "cache", *(tmp_path / "there" / file.name for file in files))
    assert told == [(2, 2)]
    assert torch.equal(before, after)


def test_copies_of_a_broken_clip_are_broken_too(tmp_path: Path) -> None:
    bad = [Clip(name, tmp_path / f"{name}.mp4") for name in "ab"]
    for clip in bad:
        clip.path.write_bytes(b"")
    footage = one_footage(tmp_path / "cache")
    broken = footage.prepare([(clip, 1) for clip in bad], lambda done, total: None)
    assert list(broken) == bad


def test_a_clip_that_cannot_be_read_is_broken(tmp_path: Path) -> None:
    lost = Clip("lost", tmp_path / "lost.mp4")
    assert list(one_footage(tmp_path / "cache").prepare([(lost, 1)], lambda done, total: None)) == [lost]


def test_a_broken_picture_is_named_and_breaks_its_album(tmp_path: Path) -> None:
    walk = tmp_path / "walk"
    walk.mkdir()
    (walk / "0.png").write_bytes(b"no picture")
    clip = Clip("walk", walk)
    broken = one_footage(tmp_path / "cache").prepare([(clip, 1)], lambda done, total: None)
    assert broken.keys() == {clip}
    assert broken[clip].startswith("0.png: ")
