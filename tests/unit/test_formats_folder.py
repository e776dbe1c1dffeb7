"""A folder of clips with a text beside each."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import FormatError
from vidapt.formats import open_samples
from vidapt.nouns import Sample, Turn


def fill(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def read(folder: Path, **config: Any) -> list[Sample]:
    return list(open_samples(folder, **config))


def refused(folder: Path, **config: Any) -> str:
    with pytest.raises(FormatError) as caught:
        read(folder, **config)
    return str(caught.value)


def test_captions_and_answers_are_read_in_natural_order(tmp_path: Path) -> None:
    fill(
        tmp_path,
        shot10_mp4="",
        shot10_txt="\ufeffa red ball.\n",
        shot2_MOV="",
        shot2_json='{\n "question": "which?",\n "answer": "red"\n}',
        shot1_gif="",
        shot1_json='{"caption": "a dot."}',
        notes_md="",
    )
    samples = read(tmp_path)
    assert [s.id for s in samples] == ["shot1.gif", "shot2.MOV", "shot10.mp4"]
    assert samples[1].turns == (Turn("user", "which?"), Turn("assistant", "red"))
    assert samples[2].turns == (Turn("user", "describe the video."), Turn("assistant", "a red ball."))
    assert samples[2].source == f"{tmp_path / 'shot10.txt'}:1"


def test_all_clips_without_a_text_are_named_before_the_first_sample(tmp_path: Path) -> None:
    fill(tmp_path, a_mp4="", a_txt="one", b_mp4="", c_mp4="")
    with pytest.raises(FormatError) as caught:
        next(open_samples(tmp_path))
    message = str(caught.value)
    assert "2 of 3 clips have no text" in message
    assert "  b.mp4\n  c.mp4" in message


def test_unlabelled_clips_have_no_turns_where_allowed(tmp_path: Path) -> None:
    fill(tmp_path, a_mp4="", b_mp4="", b_txt="two")
    first, second = read(tmp_path, allow_unlabelled=True)
    assert first.turns == ()
    assert second.answer == "two"


def test_folders_inside_are_read_only_if_asked(tmp_path: Path) -> None:
    fill(tmp_path, x__a_mp4="", x__a_txt="one", y__a_mp4="", y__a_txt="two")
    assert "set recursive" in refused(tmp_path)
    assert [(s.id, s.answer) for s in read(tmp_path, recursive=True)] == [
        ("x/a.mp4", "one"),
        ("y/a.mp4", "two"),
    ]


def test_hidden_files_are_no_clips(tmp_path: Path) -> None:
    fill(tmp_path, a_mp4="", a_txt="one")
    (tmp_path / "._a.mp4").touch()
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"notes_txt": "x"}, "holds no clips"),
        ({"a_mp4": "", "a_txt": " \n"}, "a.txt:1: 'caption' is empty"),
        ({"a_mp4": "", "a_txt": "\u200b\0"}, "a.txt:1: 'caption' holds only characters that cannot be seen"),
        ({"a_mp4": "", "a_txt": "x", "a_json": "{}"}, "two texts, a.txt and a.json"),
        ({"a_mp4": "", "a_avi": "", "a_txt": "x"}, "would also be that of"),
        ({"a_mp4": "", "a_json": '{"caption": "x",\n}'}, "a.json:2: broken JSON at column 1"),
        ({"a_mp4": "", "a_json": '{"caption": "x"} 1'}, "a.json:1: broken JSON at column 18"),
        ({"a_mp4": "", "a_json": '{"captoin": "x"}'}, "did you mean 'caption'?"),
        ({"a_mp4": "", "a_json": '["x"]'}, "a.json:1: the label is ['x'], not an object"),
        ({"a_mp4": "", "a_txt": "x" * (1 << 20) + "x"}, "more than the 1,048,576 read at once"),
        ({"a_mp4": "", "a_txt": "x" * (1 << 20) + "x"}, "-> the text beside a clip is its caption"),
        ({"a_mp4": "", "a_json": "[" + " " * (1 << 20)}, "-> the text beside a clip is its caption"),
    ],
)
def test_unsound_folder_is_refused(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    assert expected in refused(fill(tmp_path, **files))


# --- texts beside no clip --------------------------------------------------------------------------------


def test_texts_beside_no_clip_are_named_together_with_clips_without_a_text(tmp_path: Path) -> None:
    fill(
        tmp_path, shot1_mp4="", shot1_txt="one", shot2_mp4="", shot02_txt="two", other_json='{"caption": "x"}'
    )
    message = refused(tmp_path)
    assert "1 of 2 clips have no text beside them:\n  shot2.mp4\n" in message
    assert "2 texts have no clip beside them:\n  other.json\n  shot02.txt\n" in message
    assert "the same name" in message


def test_a_text_whose_clip_is_gone_is_named_where_all_others_are_whole(tmp_path: Path) -> None:
    fill(tmp_path, a_mp4="", a_txt="one", b_txt="two")
    assert "1 texts have no clip beside them:\n  b.txt\n" in refused(tmp_path)
    assert "b.txt" in refused(tmp_path, allow_unlabelled=True)
    assert [s.id for s in read(tmp_path, allow_stray_texts=True)] == ["a.mp4"]


def test_many_texts_beside_no_clip_are_cut_but_counted(tmp_path: Path) -> None:
    fill(tmp_path, a_mp4="", a_txt="one", **{f"lost{i}_txt": "x" for i in range(12)})
    message = refused(tmp_path)
    assert "12 texts have no clip beside them" in message
    assert message.count("  lost") == 10
    assert "... and 2 more" in message


def test_only_a_clip_in_the_same_folder_is_beside_a_text(tmp_path: Path) -> None:
    fill(tmp_path, x__a_mp4="", x__a_txt="one", y__a_txt="two")
    assert "1 texts have no clip beside them:\n  y/a.txt\n" in refused(tmp_path, recursive=True)


@pytest.mark.parametrize(
    "files",
    [
        {"README_txt": "x"},
        {"readme-first_txt": "x"},
        {"LICENSE_txt": "x"},
        {"a_info_json": '{"caption": "x", "fps": 25}'},
        {"list_json": '[{"caption": "x"}]'},
        {"empty_json": "{}"},
        {"broken_json": "{"},
        {"notes_md": "x"},
        {"a_TXT": "x"},
    ],
)
def test_what_is_no_label_may_lie_beside_clips(tmp_path: Path, files: dict[str, str]) -> None:
    assert [s.answer for s in read(fill(tmp_path, a_mp4="", a_txt="one", **files))] == ["one"]


# --- folders and files that cannot be read ---------------------------------------------------------------


def test_a_clip_whose_name_leaves_no_room_for_a_text_has_none(tmp_path: Path) -> None:
    name = "n" * 251
    fill(tmp_path, **{f"{name}_mp4": ""})
    assert "1 of 1 clips have no text" in refused(tmp_path)
    fill(tmp_path, **{f"{name}_txt": "one"})
    assert [s.answer for s in read(tmp_path)] == ["one"]


@pytest.mark.parametrize(("call", "where"), [("iterdir", ""), ("read_bytes", "/a.txt")])
def test_what_may_not_be_read_is_named(
    tmp_path: Path, call: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    fill(tmp_path, a_mp4="", a_txt="one")
    monkeypatch.setattr(Path, call, refuse)
    assert refused(tmp_path).startswith(f"{tmp_path}{where}: cannot be read: Permission denied")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="none: there is no such folder"):
        list(open_samples(tmp_path / "none", "folder"))
