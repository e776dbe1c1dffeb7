"""Media that label files name: found, missing, or of names no file can have."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from format_tools import QA, chat, llava, put, read, refused

from vidapt.errors import FormatError
from vidapt.formats import check


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_missing_label_file_is_named(data: Path) -> None:
    assert "none.jsonl: there is no such file" in refused(data / "none.jsonl", "vidapt_jsonl")
    assert "none.jsonl: there is no such file" in refused(data / "none.jsonl")


def test_all_missing_media_are_named_in_one_error(data: Path) -> None:
    path = put(
        data / "l.jsonl", QA, {**QA, "video": "x.mp4"}, {**QA, "video": "x.mp4"}, {**QA, "video": "y.mp4"}
    )
    message = refused(path, "vidapt_jsonl")
    assert "2 of 3 media files are missing" in message
    assert f"{path}:2  {data / 'x.mp4'}" in message
    assert f"{path}:4  {data / 'y.mp4'}" in message
    assert f"{path}:3" not in message


def test_long_lists_of_missing_media_are_cut_but_counted(data: Path) -> None:
    message = refused(
        put(data / "l.jsonl", *({**QA, "video": f"{i}.mp4"} for i in range(25))), "vidapt_jsonl"
    )
    assert "25 of 25 media files are missing" in message
    assert message.count(".mp4") == 20
    assert "... and 5 more" in message


def test_unchecked_media_pass_until_they_are_checked(data: Path) -> None:
    samples = read(put(data / "l.jsonl", {**QA, "video": "x.mp4"}), "vidapt_jsonl", check_files=False)
    with pytest.raises(FormatError, match=r"l\.jsonl:1: 1 of 1 media files are missing"):
        check(samples)
    (data / "x.mp4").touch()
    assert check(samples) == 1


@pytest.mark.parametrize(
    "name", ["z" * 5000, "z/" * 3000, "z" * 5000 + "/z"], ids=["long", "deep", "in a long one"]
)
@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("vidapt_jsonl", {**QA, "video": "NAME"}),
        ("llava_json", llava("q", "a", video="NAME")),
        ("sharegpt", chat("q", "a", videos=["NAME"])),
        ("video_instruct", {"q": "q", "a": "a", "video_id": "NAME"}),
    ],
)
def test_a_name_no_file_can_have_is_a_missing_file(data: Path, kind: str, row: Any, name: str) -> None:
    path = put(data / "l.json", row)
    path.write_text(path.read_text().replace("NAME", name))
    assert f"{path}:2: 1 of 1 media files are missing" in refused(path, kind)
    assert f"{path}:2: 1 of 1 media files are missing" in refused(path, kind, media_root=data)


def test_a_label_file_of_a_name_no_file_can_have_is_missing(data: Path) -> None:
    for name in ("z" * 5000, "z/" * 3000 + "l.json"):
        assert "there is no such file" in refused(data / name)
        assert "there is no such folder" in refused(data / name, "folder")


def test_a_folder_of_videos_that_may_not_be_listed_has_none(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = put(data / "l.json", {"q": "q", "a": "a", "video_id": "a"})
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "1 of 1 media files are missing" in refused(path, "video_instruct")


def test_media_root_is_tried_after_the_label_folder(data: Path) -> None:
    root = data / "root"
    root.mkdir()
    (root / "a.mp4").touch()
    (root / "z.mp4").touch()
    path = put(data / "l.json", llava("q", "a", video="a.mp4"), llava("q", "a", video="z.mp4"))
    assert [s.media[0].path for s in read(path, "llava_json", media_root=root)] == [
        data / "a.mp4",
        root / "z.mp4",
    ]


def test_sharegpt_paths_of_another_machine_are_found_beside_the_file(data: Path) -> None:
    rows = [chat("<video>Why?", "So.", videos=[f"demo_data/{name}"]) for name in ("a.mp4", "b.mp4")]
    path = data / "demo.json"
    path.write_text(json.dumps(rows, indent=2))
    samples = read(path, "sharegpt")
    assert [s.media[0].path for s in samples] == [data / "a.mp4", data / "b.mp4"]
    assert [s.source for s in samples] == [f"{path}:2", f"{path}:17"]
    assert path.read_text().splitlines()[16].strip() == "{"


def test_two_paths_are_never_taken_for_one_file_beside(data: Path) -> None:
    path = put(data / "l.json", *(chat("q", "a", videos=[f"{folder}/a.mp4"]) for folder in "xy"))
    assert "'y/a.mp4' and 'x/a.mp4' would both be" in refused(path, "sharegpt")


def test_only_sharegpt_drops_folders(data: Path) -> None:
    path = put(data / "l.json", llava("q", "a", video="x/a.mp4"))
    assert "1 of 1 media files are missing" in refused(path, "llava_json")
