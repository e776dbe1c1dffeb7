"""Writing that never leaves half a file behind."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from vidapt.errors import VidaptError

_PROBE_BYTES = 1 << 20


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or missing rights into an error that says what to do.

    Raises:
        VidaptError: If the system says that nothing more can be written at `path`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise VidaptError(
                path,
                "the disk is full",
                "free some space and run the same command again; finished work is kept",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise VidaptError(path, "may not be written", "choose another folder") from error
        raise


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one step.

    Readers see the old file or the whole new one. The content is on disk before the name changes.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            with _errors_of_libraries(temporary.parent):
                write(temporary)
            _sync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Fill a folder beside `path`, then put it in place whole.

    A new folder appears in one step. Replacing an old one takes two: a process killed between them leaves
    no `path`, and the old folder beside it under a hidden name. What killed processes left of `path` is
    removed once it is in place.

    Yields:
        The folder to fill. If the block raises, it is removed and `path` stays as it was.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.new."))
        try:
            with _errors_of_libraries(temporary):
                yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    file.chmod(0o644)
                    _sync(file)
            temporary.chmod(0o755)
            if path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
                path.replace(old / path.name)
            temporary.replace(path)
            _remove_left(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_left(path: Path) -> None:
    """Delete unfinished and replaced folders of `path`, by the names that `write_folder` gives them."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(new|old)\.[a-z0-9_]{{8}}")
    for left in path.parent.iterdir():
        if name.fullmatch(left.name) and left.is_dir():
            shutil.rmtree(left)


@contextmanager
def _errors_of_libraries(folder: Path) -> Iterator[None]:
    """Find out whether a library failed because the disk is full.

    torch and safetensors write from C++ and Rust and raise errors of their own, without the system's error
    number. What was written so far is still there, so the disk is as full as it was for them.

    Raises:
        OSError: If nothing can be written here.
    """
    try:
        yield
    except (RuntimeError, SafetensorError):
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        raise


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
