"""Writing that never leaves half a file behind, and says at once where nothing can be written."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import resource
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from vidapt.errors import ConfigError, VidaptError

_PROBE_BYTES = 1 << 20

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_RUST_NUMBER = re.compile(r"\(os error (\d+)\)")

_TOLD: dict[int, tuple[str, str]] = {
    **dict.fromkeys(
        _FULL,
        ("the disk is full", "free some space and run the same command again; finished work is kept"),
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EROFS, errno.EPERM), ("may not be written", "choose another folder")
    ),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST),
        ("a file stands where a folder is needed", "choose another folder, or move that file away"),
    ),
    errno.EISDIR: ("is a folder", "give the name of a file"),
    errno.ENAMETOOLONG: ("the name is too long", "give a shorter one"),
    errno.ELOOP: ("is a link that leads to itself", "remove it, or choose another name"),
    errno.EFBIG: ("grew larger than a file may be here", "raise the limit (ulimit -f), or write elsewhere"),
    errno.EIO: ("the disk reports an error", "check the disk, or write to another one"),
}
"""What is wrong and how to mend it, by the system's error number."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a full disk, missing rights or an unusable name into advice.

    Errors that say nothing of the kind pass, as they may be about files that are read meanwhile.

    Raises:
        VidaptError: If the system says that nothing more can be written at `path`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _TOLD:
            raise
        raise VidaptError(path, *_TOLD[error.errno]) from error


@contextmanager
def _any_error(path: Path) -> Iterator[None]:
    """As `disk_errors`, around steps that do nothing but write, where every error is about `path`."""
    try:
        with disk_errors(path):
            yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise VidaptError(path, f"cannot be written ({reason})", "choose another folder") from error


def exists(path: Path) -> bool:
    """Whether something is there; a name that no file can have, or that may not be looked at, is missing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def check_clips(path: Path) -> None:
    """Refuse what is no folder of clips.

    Raises:
        ConfigError: If there is no such folder.
    """
    if not exists(path) or not path.is_dir():
        raise ConfigError(path, "is no folder of clips", "give the folder; a label file goes behind --labels")


def matching(path: Path) -> list[Path]:
    """Files that a path names: itself if it is there, else all that it fits as a pattern (`part-*.jsonl`)."""
    if exists(path):
        return [path]
    places = [place for place, part in enumerate(path.parts) if set(part) & set("*?[")]
    if not places:
        return []
    root = Path(*path.parts[: places[0]])
    return sorted(root.glob(str(Path(*path.parts[places[0] :]))))


def check_file(path: Path) -> None:
    """Refuse, before work begins, a file that could not be written at its end; nothing is made.

    Raises:
        ConfigError: If something other than a regular file has that name.
        VidaptError: If nothing can be written there.
    """
    with _any_error(path):
        _try_beside(path, _target(path, folder=False))


def check_folder(path: Path) -> None:
    """Refuse, before work begins, a folder that files could not be written into; nothing is made.

    Raises:
        ConfigError: If something other than a folder has that name.
        VidaptError: If nothing can be written there.
    """
    with _any_error(path):
        _try_beside(path, _target(path, folder=True) / "file")


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one step.

    Readers see the old file or the whole new one. The content is on disk before the name changes. Where
    `path` is a link, the file it leads to is written and the link stays.

    Raises:
        ConfigError: If something other than a regular file has that name.
        VidaptError: If nothing can be written there, or the disk is full.
    """
    with _any_error(path):
        target = _target(path, folder=False)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=path.suffix)
        os.close(handle)
    temporary = Path(name)
    try:
        with disk_errors(path), _errors_of_libraries(temporary.parent):
            write(temporary)
        with _any_error(path):
            _sync(temporary)
            temporary.chmod(0o644)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def remove(path: Path) -> None:
    """Delete a folder with all it holds, a file, or a link but not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Fill a folder beside `path`, then put it in place whole.

    A new folder appears in one step. Replacing an old one takes two: a process killed between them leaves
    no `path`, and the old folder beside it under a hidden name. What killed processes left of `path` is
    removed once it is in place. Where `path` is a link, the folder it leads to is replaced, and the link
    stays.

    Yields:
        The folder to fill. If the block raises, it is removed and `path` stays as it was.

    Raises:
        ConfigError: If something other than a folder has that name.
        VidaptError: If nothing can be written there, or the disk is full.
    """
    with _any_error(path):
        target = _target(path, folder=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.new."))
    try:
        with disk_errors(path), _errors_of_libraries(temporary):
            yield temporary
        with _any_error(path):
            _put_in_place(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, target: Path) -> None:
    for file in temporary.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
            _sync(file)
    temporary.chmod(0o755)
    if target.exists():
        old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
        target.replace(old / target.name)
    temporary.replace(target)
    _remove_left(target)


def _remove_left(path: Path) -> None:
    """Delete unfinished and replaced folders of `path`, by the names that `write_folder` gives them."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(new|old)\.[a-z0-9_]{{8}}")
    for left in path.parent.iterdir():
        if name.fullmatch(left.name) and left.is_dir():
            shutil.rmtree(left)


@contextmanager
def _errors_of_libraries(folder: Path) -> Iterator[None]:
    """Find out whether a library failed because the disk is full, or a file larger than it may be.

    torch writes from C++, safetensors and tokenizers from Rust, and they raise errors of their own, without
    the system's error number. Rust writes it into the message. torch does not, but leaves what was written so
    far: the disk is as full as it was for it, and a file that met its limit is as large as that.

    Raises:
        OSError: If nothing can be written here.
    """
    try:
        yield
    except Exception as error:
        number = _RUST_NUMBER.search(str(error))
        if number is not None and int(number[1]) in _TOLD:
            raise OSError(int(number[1]), str(error)) from error
        if isinstance(error, RuntimeError | SafetensorError):
            if _largest(folder) >= _size_limit():
                raise OSError(errno.EFBIG, str(error)) from error
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        raise


def _size_limit() -> float:
    """Bytes that a file of this process may have (RLIMIT_FSIZE)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return math.inf if limit == resource.RLIM_INFINITY else limit


def _largest(folder: Path) -> int:
    """Bytes of the largest file in a folder."""
    sizes = [0]
    for path in folder.iterdir():
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return max(sizes)


def _target(path: Path, *, folder: bool) -> Path:
    """The place a link leads to, or `path` itself; it is free, or of the kind that is to be written."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None  # free, or a link to a free place; whether its folder is one is seen when it is made
    if mode is not None and not (stat.S_ISDIR if folder else stat.S_ISREG)(mode):
        if folder:
            raise ConfigError(path, "is a file and no folder", "give the name of a folder, or of a new one")
        found = "is a folder" if stat.S_ISDIR(mode) else "is a pipe, a device or the like, and no file"
        raise ConfigError(path, found, "give the name of a file")
    return path.resolve() if path.is_symlink() else path


def _try_beside(path: Path, target: Path) -> None:
    """Make and drop an unnamed file in a target's folder, or in the nearest one above that is there."""
    above = next(folder for folder in target.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise ConfigError(path, f"{above} is no folder", "choose another place")
    tempfile.TemporaryFile(dir=above).close()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
