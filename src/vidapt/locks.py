"""One owner per place: whoever writes there says who he is, and a second one is told.

An advisory lock (flock) where the file system knows it. Where it does not (ENOLCK, ENOTSUP: some network file
systems), the owner's file itself, which one process alone can make, and whose owner is asked after: on this
machine by his process, elsewhere by a heartbeat, the time of the file. The heartbeat counts beside a lock
too, because there are network file systems that grant a lock to one process of each machine.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError
from vidapt.files import disk_errors

BEAT_S = 20.0
"""Seconds between two heartbeats."""

SILENT_S = 6 * BEAT_S
"""After so many seconds without one, an owner on another machine is taken for dead."""

_UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_BUSY = frozenset({errno.EWOULDBLOCK, errno.EACCES})
_ATTEMPTS = 20
_DYING_S = 0.1
"""Seconds between two attempts to take over from a process that was killed a moment ago."""


class TakenError(ConfigError):
    """Somebody else is working there."""


@dataclass(frozen=True)
class Owner:
    """Who works in a place.

    Attributes:
        host: Name of his machine.
        pid: His process.
        started: When that began; it tells a process from a later one of its number.
        since: When he came, for people.
        machine: What tells machines, and containers that do not see one another's processes, apart.
        mark: Chosen by chance, so that he knows his own file.
    """

    host: str
    pid: int
    started: str
    since: str
    machine: str
    mark: str

    def __str__(self) -> str:
        return f"{self.pid} on {self.host}, since {self.since}"


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Be the only one that writes a file or a folder, among those who ask.

    Args:
        path: The file or folder, which need not be there. Who owns it is written beside it, in
            `.NAME.owner`, which is removed in the end.

    Raises:
        TakenError: If somebody else owns it, saying who and how to take over.
        VidaptError: If nothing can be written there.
    """
    place = path.resolve()
    file = place.parent / f".{place.name}.owner"
    missing = [folder for folder in place.parents if not folder.exists()]
    with disk_errors(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, me = _take(path, file)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(file, stop), name="vidapt-owner", daemon=True)
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join()
        _leave(file, handle, me)
        for folder in missing:  # where nothing was written, nothing is left
            with contextlib.suppress(OSError):
                folder.rmdir()


def owner_of(path: Path) -> Owner | None:
    """Who writes a file or a folder now; None if nobody does, as far as can be seen without asking for it."""
    place = path.resolve()
    file = place.parent / f".{place.name}.owner"
    for one in (file, _alone(file)):
        there = _read(one)
        if there is not None and _alive(there, one):
            return there
    return None


def this_process() -> Owner:
    """Who this process is, as it says where it works."""
    return _me()


def works_here(owner: Owner) -> bool | None:
    """Whether an owner on this machine still works; None if he is on another, where nobody can see."""
    return _started(owner.pid) == owner.started if owner.machine == _machine() else None


def free(path: Path, gone: Callable[[Owner], bool]) -> bool:
    """Let others have a place at once whose owner is known to be gone, though his heartbeat is fresh.

    Args:
        path: As for `owned`.
        gone: Whether an owner is.

    Returns:
        Whether there was such an owner.
    """
    place = path.resolve()
    file = place.parent / f".{place.name}.owner"
    freed = False
    for one in (file, _alone(file)):
        there = _read(one)
        if there is not None and gone(there):
            _set_aside(one, there)
            freed = True
    return freed


def owned_in(folder: Path) -> list[Path]:
    """Files and folders, in a folder and those inside, that say who owns them."""
    suffix = ".owner"
    found = [file for pattern in (f".*{suffix}", f".*{suffix}.alone") for file in folder.rglob(pattern)]
    return sorted({file.with_name(file.name[1:].partition(suffix)[0]) for file in found})


def _take(path: Path, file: Path) -> tuple[int, Owner]:
    """The owner's file, open and, where that can be, locked; and who owns it now."""
    for _ in range(_ATTEMPTS):
        with contextlib.ExitStack() as opened:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            opened.callback(os.close, handle)
            locked, there = _lock(handle), _read(file)
            alone = _alone(file)
            if locked is None:
                # Whoever made it may have had a lock, of which nothing is seen from here.
                if there is not None and _alive(there, file):
                    raise _taken(path, file, there)
                file.unlink(missing_ok=True)
                return _take_unlocked(path, file)
            if locked is False and _is_dying(there):
                # A killed process may hold its lock for a moment after it counts as gone.
                time.sleep(_DYING_S)
                continue
            if not locked or (there is not None and not _same_kernel(there) and _alive(there, file)):
                raise _taken(path, file, there)
            if alone.exists() and _alive(_read(alone), alone):
                raise _taken(path, alone, _read(alone))
            if _is(handle, file):
                me = _me()
                _write(handle, me)
                opened.pop_all()
                return handle, me
            # Else its owner left, and took the file with him, while it was opened.
    raise _taken(path, file, _read(file))


def _lock(handle: int) -> bool | None:
    """Whether the lock was free; None where there are no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        if error.errno in _BUSY:
            return False
        raise
    return True


def _take_unlocked(path: Path, file: Path) -> tuple[int, Owner]:
    """The same where there are no locks: who makes the file owns it, until he is known to be gone."""
    alone = _alone(file)
    for _ in range(_ATTEMPTS):
        try:
            handle = os.open(alone, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            there = _read(alone)
            if _alive(there, alone):
                raise _taken(path, alone, there) from None
            _set_aside(alone, there)
            continue
        me = _me()
        _write(handle, me)
        return handle, me
    raise _taken(path, alone, _read(alone))


def _alone(file: Path) -> Path:
    """The owner's file where there are no locks."""
    return file.with_name(f"{file.name}.alone")


def _alive(owner: Owner | None, file: Path) -> bool:
    """Whether an owner still works; one whose file is not whole may be about to write it."""
    here = None if owner is None else works_here(owner)
    return _beats(file) if here is None else here


def _is_dying(owner: Owner | None) -> bool:
    """Whether an owner on this machine is gone already, though its lock is not."""
    return owner is not None and works_here(owner) is False


def _set_aside(file: Path, stale: Owner | None) -> None:
    """Remove the file of an owner who is gone, and nobody else's that took its place meanwhile."""
    aside = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return
    if _read(aside) != stale:
        with contextlib.suppress(FileExistsError):
            os.link(aside, file)
    aside.unlink()


def _taken(path: Path, file: Path, owner: Owner | None) -> TakenError:
    who = "" if owner is None else f": {owner}"
    end = "end it" if owner is None else f"end it (kill {owner.pid} on {owner.host})"
    if owner is not None and not _same_kernel(owner):
        # Its number may be anybody's now, if the machine was started anew since.
        end = f"end it on {owner.host}; if that was stopped, try again in {SILENT_S:.0f} seconds"
    return TakenError(
        path,
        f"is being written by another process{who}",
        f"wait for it, or {end}; if it is surely gone: rm {shlex.quote(str(file))}",
    )


def _leave(file: Path, handle: int, me: Owner) -> None:
    with contextlib.suppress(OSError):
        for one in (file, _alone(file)):
            if _read(one) == me:
                one.unlink(missing_ok=True)
    os.close(handle)


def _beat(file: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        for one in (file, _alone(file)):
            with contextlib.suppress(OSError):
                os.utime(one)


def _beats(file: Path) -> bool:
    """Whether a file's time is of just now, by the clock of the machine that keeps it."""
    probe = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        # A time that lies ahead was written before a clock was set back.
        return -BEAT_S < now - file.stat().st_mtime < SILENT_S
    except FileNotFoundError:
        return False


def _is(handle: int, file: Path) -> bool:
    """Whether an open file still stands under its name."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _write(handle: int, owner: Owner) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(asdict(owner)).encode() + b"\n", 0)


def _read(file: Path) -> Owner | None:
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        return Owner(**found)
    except (OSError, ValueError, TypeError):
        return None


def _me() -> Owner:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    pid = os.getpid()
    return Owner(platform.node(), pid, _started(pid) or "", since, _machine(), secrets.token_hex(8))


def _same_kernel(owner: Owner) -> bool:
    """Whether a lock of this machine's kernel says all there is to know of an owner."""
    return owner.machine.partition("/")[0] == _machine().partition("/")[0]


def _machine() -> str:
    """The kernel that runs, and which processes are seen."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - `Path.stat` is the same
    except OSError:
        return platform.node()


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; None if there is none of this number.

    Where the kernel does not tell, any process of the number stands for it.
    """
    if Path("/proc/self/stat").exists():
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        # Behind the name, which may hold anything, come the 3rd field of proc(5), the state, and the others.
        state, *fields = text.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""
