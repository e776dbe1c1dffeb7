"""How files are told from what they were: stamps, checksums, and the lists that keep them."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import ConfigError
from vidapt.nouns import Clip
from vidapt.training import footprints, manifest
from vidapt.training.footprints import FOOTAGE, Footprint, look, unchanged, write_footprints
from vidapt.training.manifest import checksum, differences, read_manifest, write_manifest
from vidapt.video.identity import identity


def files(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number:02d}.mp4" for number in range(count)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def clips(paths: list[Path]) -> list[Clip]:
    return [Clip(path.stem, path) for path in paths]


def begun(run: Path, paths: list[Path]) -> None:
    run.mkdir()
    write_footprints(run, unchanged(run, clips(paths)).values())


def test_a_stamp_is_of_size_and_time_and_a_file_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    (path,) = files(tmp_path, 1)
    os.utime(path, ns=(5, 7_000_000_001))
    found = look([path, tmp_path / "no.mp4"], {})
    assert found[path].stamp == "6:7000000001"
    assert found[tmp_path / "no.mp4"] == Footprint("", None)


def test_what_has_its_old_stamp_is_not_read_and_all_else_is(tmp_path: Path) -> None:
    same, other = files(tmp_path, 2)
    known = {
        same: Footprint(look([same], {})[same].stamp, "as it was"),
        other: Footprint("1:1", "as it was"),
    }
    found = look([same, other], known)
    assert found[same].content == "as it was"
    assert found[other] == look([other], {})[other] != known[other]


def test_more_files_than_are_looked_at_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprints, "_TOGETHER", 3)
    paths = files(tmp_path, 7)
    found = look(paths, {})
    assert list(found) == paths
    assert len({one.content for one in found.values()}) == 7


@pytest.mark.parametrize("count", [1, 10, 11, 13])
def test_ten_of_the_clips_that_changed_are_named_and_the_others_counted(tmp_path: Path, count: int) -> None:
    paths = files(tmp_path, 14)
    begun(tmp_path / "run", paths)
    for path in paths[:count]:
        path.write_bytes(b"another")
    with pytest.raises(ConfigError) as caught:
        unchanged(tmp_path / "run", clips(paths))
    named = ", ".join(path.stem for path in paths[: min(count, 10)])
    more = f" and {count - 10} more" if count > 10 else ""
    assert f"clips have changed since it began: {named}{more}\n" in str(caught.value)


def test_a_clip_of_one_name_is_known_by_its_place_among_the_labels(tmp_path: Path) -> None:
    """Several clips may be stretches of one file: it is looked at once, under the first one's name."""
    first, second = files(tmp_path, 2)
    run = tmp_path / "run"
    run.mkdir()
    stretches = [Clip("a", second), Clip("b", first), Clip("c", second, 1.0, 2.0)]
    now = unchanged(run, stretches)
    assert sorted(now) == [first, second]
    write_footprints(run, now.values())
    second.write_bytes(b"another")
    with pytest.raises(ConfigError, match=r"since it began: a\n"):
        unchanged(run, stretches)
    # Of other labels nothing is known: that they differ is told elsewhere.
    assert len(unchanged(run, stretches[:2][1:])) == 1


def test_a_file_that_could_not_be_read_before_and_can_now_has_changed(tmp_path: Path) -> None:
    paths = files(tmp_path, 2)
    paths[1].unlink()
    begun(tmp_path / "run", paths)
    assert unchanged(tmp_path / "run", clips(paths))[paths[1]].content is None
    paths[1].write_bytes(b"back")
    with pytest.raises(ConfigError, match=r"since it began: 01\n"):
        unchanged(tmp_path / "run", clips(paths))


def test_what_a_run_knows_is_not_read_again_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = files(tmp_path, 3)
    begun(tmp_path / "run", paths)
    os.utime(paths[1], ns=(1, 1))
    read: list[Path] = []
    monkeypatch.setattr(footprints, "identity", lambda path: read.append(path) or identity(path))
    unchanged(tmp_path / "run", clips(paths))
    assert read == [paths[1]]


def spoil(run: Path, change: Any) -> None:
    kept = json.loads((run / FOOTAGE).read_text(encoding="utf-8"))
    change(kept)
    (run / FOOTAGE).write_text(json.dumps(kept), encoding="utf-8")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "null", '{"crc32": 0}', '{"files": 3, "crc32": 0}'], ids=repr
)
def test_a_damaged_list_is_as_none(tmp_path: Path, content: str) -> None:
    paths = files(tmp_path, 2)
    begun(tmp_path / "run", paths)
    paths[0].write_bytes(b"another")
    (tmp_path / "run" / FOOTAGE).write_text(content, encoding="utf-8")
    assert len(unchanged(tmp_path / "run", clips(paths))) == 2


def test_a_list_with_another_checksum_is_as_none_and_one_with_its_own_counts(tmp_path: Path) -> None:
    paths = files(tmp_path, 2)
    begun(tmp_path / "run", paths)
    rows = json.dumps([["1:1", "x"], ["1:1", "y"]])
    spoil(tmp_path / "run", lambda kept: kept.update(files=rows))
    assert len(unchanged(tmp_path / "run", clips(paths))) == 2
    spoil(tmp_path / "run", lambda kept: kept.update(crc32=zlib.crc32(rows.encode())))
    with pytest.raises(ConfigError, match="since it began: 00, 01"):
        unchanged(tmp_path / "run", clips(paths))


def test_a_renamed_picture_is_another_folder(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(2):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
        os.utime(tmp_path / f"{number}.png", (9, 9))
    before = look([tmp_path], {})[tmp_path]
    assert len(before.stamp) == 64
    (tmp_path / "1.png").rename(tmp_path / "2.png")
    renamed = look([tmp_path], {})[tmp_path].stamp
    os.utime(tmp_path / "2.png", (10, 10))
    assert len({before.stamp, renamed, look([tmp_path], {})[tmp_path].stamp}) == 3


def test_a_checksum_is_of_all_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_BLOCK", 4)
    file = tmp_path / "x"
    file.write_bytes(b"123456789")
    # The check value that CRC-32's definitions give; a short one keeps its zeros.
    assert checksum(file) == "9:cbf43926"
    file.write_bytes(b"")
    assert checksum(file) == "0:00000000"


def test_what_is_missing_more_or_other_is_told_in_words(tmp_path: Path) -> None:
    for name in ("kept", "other", "lost", "gone"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    write_manifest(tmp_path)
    wanted = read_manifest(tmp_path)["files"]
    assert differences(wanted, tmp_path) == []
    (tmp_path / "other").write_text("OTHER", encoding="utf-8")
    for name in ("lost", "gone"):
        (tmp_path / name).unlink()
    (tmp_path / "new").mkdir()
    for name in ("b", "a"):
        (tmp_path / "new" / name).touch()
    wrong = ["gone is missing", "lost is missing"]
    damaged = ["other is damaged"]
    more = ["new/a is not part of it", "new/b is not part of it"]
    assert differences(wanted, tmp_path) == [*wrong, *more, *damaged]
    assert differences(wanted, tmp_path, extra=False) == wrong + damaged


@pytest.mark.parametrize("change", [{"step": 4}, {"crc32": None}, {"files": {}}, {"more": 1}])
def test_a_manifest_with_another_content_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "x").touch()
    write_manifest(tmp_path, step=3)
    file = tmp_path / manifest.MANIFEST
    written = json.loads(file.read_text(encoding="utf-8"))
    assert read_manifest(tmp_path)["step"] == 3
    # In another order it is the same.
    file.write_text(json.dumps(dict(reversed(written.items()))), encoding="utf-8")
    assert read_manifest(tmp_path) == {"step": 3, "files": {"x": "0:00000000"}}
    for content in ({**written, **change}, [written], 3):
        file.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
            read_manifest(tmp_path)
