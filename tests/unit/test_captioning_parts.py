"""Pieces of a captioning job by themselves: names, rows and their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vidapt.captioning.found import find_clips
from vidapt.captioning.places import folder_of
from vidapt.captioning.rows import CaptionRow, check_target, read_rows, write_rows
from vidapt.errors import ConfigError, FormatError

ROW = CaptionRow(
    key="",
    clip="",
    caption="a ball",
    model="tiny",
    model_hash="abc",
    recipe_hash=None,
    prompt="say",
    settings="s",
    frames=(0.0,),
    visual_tokens=7,
    text_tokens=3,
    new_tokens=5,
    finish="end",
    seconds=0.25,
    notes=(),
    created="2025-01-01T00:00:00+00:00",
    version="0.1.0",
)
OUT = Path("out.jsonl")


def row(name: str, key: str = "", folder: str = "here", **changes: Any) -> CaptionRow:
    return replace(ROW, clip=name, key=key or name, folder=folder, **changes)


def test_names_begin_in_the_folder_of_what_is_captioned(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert folder_of(tmp_path) == folder_of(tmp_path / "a.mp4") == folder_of(tmp_path / "link")
    assert folder_of(tmp_path) == str(tmp_path.resolve())
    monkeypatch.chdir(tmp_path)
    assert folder_of([Path("elsewhere/a.mp4")]) == str(tmp_path)


def test_captions_go_into_files_of_two_kinds(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        check_target(tmp_path / name)
    with pytest.raises(ConfigError, match=r"cannot write \.csv\n.*\.jsonl or \.parquet"):
        check_target(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="cannot write a file without suffix"):
        check_target(tmp_path / "a")
    (tmp_path / "b.jsonl").mkdir()
    with pytest.raises(ConfigError, match=r"b\.jsonl"):
        check_target(tmp_path / "a.jsonl", tmp_path / "b.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_row_without_a_model_or_with_an_unknown_column_is_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    write_rows(path, [row("a", folder="ä"), row("b", notes=("cut", "short"), frames=())])
    assert [(one.folder, one.frames, one.notes) for one in read_rows(path)] == [
        ("ä", (0.0,), ()),
        ("here", (), ("cut", "short")),
    ]
    with pytest.raises(FormatError, match="cannot be read"):
        read_rows(tmp_path / f"no{suffix}")
    plain = {key: value for key, value in ROW.to_dict().items() if key != "folder"}
    assert CaptionRow.from_dict(plain) == ROW  # of an earlier version
    for other in ({**plain, "odd": 1}, {k: v for k, v in plain.items() if k != "model"}):
        with pytest.raises(TypeError):
            CaptionRow.from_dict(other)


def test_five_places_that_cannot_be_read_are_named_where_no_clip_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"f{number}" for number in range(7)]
    for name in names:
        (tmp_path / name).mkdir()
    listed = Path.iterdir

    def shut(self: Path) -> Any:
        if self != tmp_path:
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", shut)
    with pytest.raises(ConfigError) as told:
        find_clips(tmp_path)
    lines = told.value.found.splitlines()
    assert lines == [
        "no clip is here",
        *(f"  {name}: the folder cannot be read (Permission denied)" for name in names[:5]),
    ]
