"""One owner per place: the second is told who has it, and who is gone does not count."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vidapt import locks
from vidapt.errors import VidaptError
from vidapt.locks import TakenError, owned

HOLD = """
import errno, fcntl, sys, time
from pathlib import Path
from vidapt import locks
if sys.argv[2]:
    def refuse(*_):
        raise OSError(int(sys.argv[2]), "no locks here")
    fcntl.flock = refuse
with locks.owned(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(100)
"""

WAYS = [0, errno.ENOLCK, errno.ENOTSUP]


@pytest.fixture(params=WAYS, ids=["flock", "ENOLCK", "ENOTSUP"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The error of a file system without locks; 0 is one with them."""
    number: int = request.param
    if number:

        def refuse(*_: Any) -> None:
            raise OSError(number, "no locks here")

        monkeypatch.setattr(locks.fcntl, "flock", refuse)
    return number


@contextmanager
def holding(place: Path, way: int) -> Iterator[subprocess.Popen[str]]:
    """A process that owns a place."""
    command = [sys.executable, "-c", HOLD, str(place), str(way or "")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "owned\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_who_has_it_and_how_to_take_over(tmp_path: Path, way: int) -> None:
    place = tmp_path / "run"
    with holding(place, way) as process:
        with pytest.raises(TakenError) as told, owned(place):
            pass
        assert len(list(tmp_path.iterdir())) == 1
    assert f"another process: {process.pid} on {os.uname().nodename}, since 2" in str(told.value)
    assert f"kill {process.pid}" in told.value.remedy
    file = told.value.remedy.rpartition("rm ")[2]
    assert json.loads(Path(file).read_text())["pid"] == process.pid


def test_within_one_process_too(tmp_path: Path, way: int) -> None:
    with owned(tmp_path / "run"), pytest.raises(TakenError), owned(tmp_path / "run"):
        pass
    with owned(tmp_path / "run"), owned(tmp_path / "other"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_was_killed_does_not_count(tmp_path: Path, way: int) -> None:
    with holding(tmp_path / "run", way) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert list(tmp_path.iterdir())
        with owned(tmp_path / "run"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_who_was_killed_and_is_not_yet_buried_does_not_count(tmp_path: Path, way: int) -> None:
    with holding(tmp_path / "run", way) as process:
        os.kill(process.pid, signal.SIGKILL)
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        with owned(tmp_path / "run"):
            pass


def written(file: Path, **changes: Any) -> None:
    """An owner's file as another process, or another machine, would have left it."""
    me = locks._me()
    file.write_text(json.dumps({**locks.asdict(me), **changes}))


def test_a_later_process_of_the_same_number_is_not_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_locks(monkeypatch)
    written(tmp_path / ".run.owner.alone", started="1")
    with owned(tmp_path / "run"):
        pass
    written(tmp_path / ".run.owner.alone")
    with pytest.raises(TakenError), owned(tmp_path / "run"):
        pass


def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)


@pytest.mark.parametrize("name", [".run.owner", ".run.owner.alone"])
def test_an_owner_on_another_machine_counts_while_his_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Also where this machine's lock is free: some network file systems grant one to each machine.
    if name.endswith("alone"):
        no_locks(monkeypatch)
    file = tmp_path / name
    written(file, host="far", machine="elsewhere/1", pid=1)
    with pytest.raises(TakenError, match=r"another process: 1 on far"), owned(tmp_path / "run"):
        pass
    long_ago = time.time() - locks.SILENT_S - 1
    os.utime(file, (long_ago, long_ago))
    with owned(tmp_path / "run"):
        pass


def test_the_heart_beats(tmp_path: Path, way: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT_S", 0.01)
    with owned(tmp_path / "run"):
        (file,) = tmp_path.glob(".run.owner*")
        os.utime(file, (1, 1))
        while file.stat().st_mtime < 2:
            time.sleep(0.01)


def test_one_who_was_taken_for_dead_leaves_the_next_ones_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_locks(monkeypatch)
    file = tmp_path / ".run.owner.alone"
    with owned(tmp_path / "run"):
        file.unlink()
        written(file, host="far")
    assert json.loads(file.read_text())["host"] == "far"


def test_where_nothing_is_written_nothing_is_left(tmp_path: Path, way: int) -> None:
    with owned(tmp_path / "a" / "b" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(VidaptError, match="a file stands where a folder is needed"),
        owned(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.parametrize(("first", "second"), [(0, errno.ENOLCK), (errno.ENOLCK, 0)])
def test_one_with_locks_and_one_without_see_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, second: int
) -> None:
    """A table of locks that is full fails for one process and not for the other."""
    if second:

        def refuse(*_: Any) -> None:
            raise OSError(second, "no locks here")

        monkeypatch.setattr(locks.fcntl, "flock", refuse)
    place = tmp_path / "run"
    with holding(place, first), pytest.raises(TakenError, match="another process"), owned(place):
        pass


def test_a_time_that_lies_ahead_is_no_heartbeat(tmp_path: Path) -> None:
    file = tmp_path / ".run.owner"
    there = {"host": "x", "pid": 1, "started": "1", "since": "", "machine": "other/1", "mark": "m"}
    file.write_text(json.dumps(there), encoding="utf-8")
    with pytest.raises(TakenError, match="on x; if that was stopped, try again in"), owned(tmp_path / "run"):
        pass
    os.utime(file, (time.time() + 9999, time.time() + 9999))
    with owned(tmp_path / "run"):
        pass
