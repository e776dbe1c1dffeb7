"""What a killed process left of a folder goes away when the folder is next written."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from vidapt.files import write_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from vidapt import files

class Killing(type(Path())):
    def replace(self, target):
        moved = super().replace(target)
        if sys.argv[2] == "between":
            os.kill(os.getpid(), signal.SIGKILL)
        return moved

with files.write_folder(Killing(sys.argv[1])) as temporary:
    (temporary / "new").touch()
    if sys.argv[2] == "filling":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def write(path: Path, name: str) -> None:
    with write_folder(path) as temporary:
        (temporary / name).touch()


def kill_while_writing(path: Path, when: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), when], check=False)
    assert done.returncode == -signal.SIGKILL


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_half_filled_is_removed_by_the_next(tmp_path: Path) -> None:
    kill_while_writing(tmp_path / "model", "filling")
    assert len(names(tmp_path)) == 1
    write(tmp_path / "model", "one")
    assert names(tmp_path) == {"model"}


def test_an_old_folder_is_kept_until_a_new_one_is_in_its_place(tmp_path: Path) -> None:
    write(tmp_path / "model", "old")
    kill_while_writing(tmp_path / "model", "between")
    assert not (tmp_path / "model").exists()
    assert [path.name for path in tmp_path.glob(".model.old.*/model/*")] == ["old"]
    write(tmp_path / "model", "one")
    assert names(tmp_path) == {"model"}
    assert names(tmp_path / "model") == {"one"}


def test_what_belongs_to_other_names_stays(tmp_path: Path) -> None:
    others = {".model.best.new.abcd1234", ".models.new.abcd1234", ".model.settings", ".model.new.notes"}
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / ".model.new.abcd1234").touch()  # a file is none of ours
    write(tmp_path / "model", "one")
    assert names(tmp_path) == {"model", ".model.new.abcd1234", *others}
