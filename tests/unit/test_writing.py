"""Where nothing can be written, it is said before work begins, and as advice rather than a traceback."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from typer.testing import CliRunner

from vidapt import files
from vidapt.captioning.rows import check_target, read_rows
from vidapt.cli import app
from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.files import check_file, check_folder, disk_errors, write_file, write_folder, write_text


def fill_file(path: Path) -> None:
    write_text(path, "new")


def fill_folder(path: Path) -> None:
    with write_folder(path) as folder:
        (folder / "new").touch()


FOR_FILES = [check_file, fill_file]
FOR_FOLDERS = [check_folder, fill_folder]
Step = Callable[[Path], None]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """One of each thing that may stand where something is to be written."""
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to_file").symlink_to("file")
    (tmp_path / "to_folder").symlink_to("folder")
    (tmp_path / "to_new").symlink_to("new/new")
    return tmp_path


# --- names that cannot be written ------------------------------------------------------------------------


@pytest.mark.parametrize("step", FOR_FILES + FOR_FOLDERS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("file/out", "file is no folder|a file stands where a folder is needed"),
        ("file/sub/out", "file is no folder|a file stands where a folder is needed"),
        ("n" * 300, "the name is too long"),
        ("n" * 300 + "/out", "the name is too long"),
        ("n/" * 3000 + "out", "the name is too long"),
        ("loop", "a link that leads to itself"),
        ("loop/out", "a link that leads to itself"),
    ],
    ids=[
        "under a file",
        "deeper under a file",
        "long",
        "in a long one",
        "long as a whole",
        "loop",
        "in a loop",
    ],
)
def test_an_unusable_name_is_told_with_advice(step: Step, name: str, expected: str, place: Path) -> None:
    with pytest.raises(VidaptError, match=expected) as caught:
        step(place / name)
    assert caught.value.where == str(place / name)
    assert caught.value.remedy


@pytest.mark.parametrize("step", FOR_FILES + FOR_FOLDERS)
def test_what_else_the_system_says_of_a_place_is_told(
    step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENODEV, "No such device")

    for name in ("TemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(files.tempfile, name, refuse)
    with pytest.raises(VidaptError, match=r"out: cannot be written \(No such device\)(.|\n)*another folder"):
        step(tmp_path / "out")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
@pytest.mark.parametrize("step", FOR_FILES + FOR_FOLDERS)
def test_a_folder_that_takes_no_files_is_told(step: Step) -> None:
    with pytest.raises(VidaptError, match=r"/proc/out: (cannot|may not) be written"):
        step(Path("/proc/out"))


@pytest.mark.parametrize(
    ("steps", "name", "expected"),
    [
        (FOR_FILES, "folder", "is a folder"),
        (FOR_FILES, "to_folder", "is a folder"),
        (FOR_FILES, "pipe", "is a pipe, a device or the like"),
        (FOR_FILES, "socket", "is a pipe, a device or the like"),
        (FOR_FOLDERS, "file", "is a file and no folder"),
        (FOR_FOLDERS, "to_file", "is a file and no folder"),
        (FOR_FOLDERS, "pipe", "is a file and no folder"),
    ],
)
def test_what_is_no_file_or_no_folder_is_not_replaced(
    steps: list[Step], name: str, expected: str, place: Path
) -> None:
    before = [(path.name, path.lstat().st_ino) for path in sorted(place.rglob("*"))]
    for step in steps:
        with pytest.raises(ConfigError, match=expected):
            step(place / name)
    assert [(path.name, path.lstat().st_ino) for path in sorted(place.rglob("*"))] == before
    assert (place / "file").read_text() == "old"


def test_looking_whether_a_place_can_be_written_leaves_nothing(place: Path) -> None:
    before = sorted(place.rglob("*"))
    check_file(place / "deep" / "deeper" / "out")
    check_folder(place / "deep" / "deeper")
    check_file(place / "file")
    check_folder(place / "folder")
    check_file(place / "to_new")
    assert sorted(place.rglob("*")) == before


# --- links -----------------------------------------------------------------------------------------------


def test_behind_a_link_the_file_is_written_and_the_link_stays(place: Path) -> None:
    fill_file(place / "to_file")
    fill_file(place / "to_new")
    assert (place / "file").read_text() == (place / "new" / "new").read_text() == "new"
    assert (place / "to_file").is_symlink()
    assert (place / "to_new").is_symlink()


def test_behind_a_link_the_folder_is_replaced_and_the_link_stays(place: Path) -> None:
    fill_folder(place / "to_folder")
    fill_folder(place / "to_new")
    assert (place / "to_folder").is_symlink()
    assert [path.name for path in (place / "folder").iterdir()] == ["new"]
    assert [path.name for path in (place / "new" / "new").iterdir()] == ["new"]


def test_what_fills_a_file_sees_the_ending_that_was_asked_for(place: Path) -> None:
    (place / "link.png").symlink_to("file")
    write_file(place / "link.png", lambda part: part.write_text(part.suffix))
    assert (place / "file").read_text() == ".png"


# --- errors while something is written -------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),
        Exception("Disk quota exceeded (os error 122)"),
    ],
)
def test_a_full_disk_is_read_from_the_messages_of_libraries(error: Exception, tmp_path: Path) -> None:
    # safetensors removes what it wrote, so that there is room again; tokenizers raises a bare Exception.
    def fail(_: Path) -> None:
        raise error

    with pytest.raises(VidaptError, match=r"out: the disk is full(.|\n)*free some space"):
        write_file(tmp_path / "out", fail)
    with pytest.raises(VidaptError, match="the disk is full"), write_folder(tmp_path / "out"):
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while deserializing: No such file or directory (os error 2)"),
        Exception("device 28 is out of space"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "a file that is read"),
        ValueError("not JSON"),
    ],
)
def test_errors_about_something_else_pass_as_they_are(error: Exception, tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        write_file(tmp_path / "out", fail)
    assert caught.value is error
    with pytest.raises(type(error)) as caught, disk_errors(tmp_path / "out"):
        raise error
    assert caught.value is error


# --- commands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["quarantine"])
def test_files_beside_the_captions_are_checked_too(what: str, tmp_path: Path) -> None:
    out, beside = tmp_path / "out.jsonl", tmp_path / f"out.jsonl.{what}.jsonl"
    check_target(out, beside)
    beside.mkdir()
    with pytest.raises(ConfigError, match=rf"out\.jsonl\.{what}\.jsonl: is a folder"):
        check_target(out, beside)


def test_captions_that_cannot_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FormatError, match=r"cannot be read \(Permission denied\)"):
        read_rows(tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("command", "ending"),
    [
        (["caption", ".", "--model", "none"], ".jsonl"),
        (["eval", "none", "--data", "none"], ""),
        (["export", "none"], ""),
        (["look", "none", "--model", "none"], ".gif"),
    ],
)
@pytest.mark.parametrize("name", ["file/out", "n" * 300, "pipe"], ids=["under a file", "long", "pipe"])
def test_commands_refuse_a_place_before_they_look_for_the_model(
    command: list[str], ending: str, name: str, place: Path
) -> None:
    out = place / f"{name}{ending}"
    if name == "pipe" and ending:
        os.mkfifo(out)
    done = CliRunner().invoke(app, [*command, "--out", str(out)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {out}: ")
    assert "->" in done.stderr
