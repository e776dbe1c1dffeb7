"""Who works on what in an object store: a row of objects, each made by one process alone.

A lease is the newest of `lease-0000`, `lease-0001`, ... in a folder. Its owner writes it anew every few
seconds. Who finds that he is gone makes the next one, which the store lets one process alone do; none is ever
deleted while there is work in the folder, so that nobody deletes another's. Where the store cannot refuse
(`Objects.create`), two may hold one lease for a while: they do the same work, and its rows are in place once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from typing import Any

from vidapt.captioning.objects import Objects
from vidapt.errors import VidaptError
from vidapt.locks import SILENT_S, Owner, TakenError, this_process, works_here

BEAT_S = 10.0
"""Seconds between two heartbeats."""

_LEASE, _DIGITS = "lease-", 4
_FIELDS = frozenset(one.name for one in fields(Owner))
_NOBODY: dict[str, Any] = {"beat": None}
"""What a damaged lease says."""


class Lease:
    """Held from when it is made until it is left.

    Args:
        objects: The store.
        folder: The folder in it; what else is in there goes when the work is done.
        tick: Called with every heartbeat.

    Attributes:
        number: Which one of the folder's it is.

    Raises:
        TakenError: If somebody else holds it.
    """

    def __init__(self, objects: Objects, folder: str, tick: Callable[[], object] | None = None) -> None:
        self._objects, self._folder, self._tick = objects, folder, tick
        last = _last(objects, folder)
        if last >= 0:
            there = _read(objects, folder, last)
            if there is None or _alive(objects, there):
                raise _taken(objects, folder, there)
        self.number, self._me = last + 1, this_process()
        if not objects.create(_name(folder, self.number), self._said(0.0)):
            raise _taken(objects, folder, _read(objects, folder, self.number))
        self._stop = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="vidapt-lease", daemon=True)
        self._beating.start()

    def rest(self) -> None:
        """Let the heart stop beating, so that `tick` is not called any more; it is still held."""
        self._stop.set()
        self._beating.join()

    def leave(self, *, over: bool = False) -> None:
        """Let others have it.

        Args:
            over: Whether its work is done, so that nothing of it is needed any more.
        """
        self.rest()
        if over:
            self._objects.remove([self._folder])
        else:
            self._objects.write(_name(self._folder, self.number), self._said(None))

    def _said(self, later: float | None) -> bytes:
        """What stands in it: its owner and the time by the store's clock; None where it is left."""
        beat = None if later is None else self._objects.now + later
        return json.dumps(asdict(self._me) | {"beat": beat}).encode()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            with suppress(VidaptError, OSError):  # the store may be away for a moment
                if self._tick is not None:
                    self._tick()
                self._objects.write(_name(self._folder, self.number), self._said(0.0))


@contextmanager
def leased(objects: Objects, folder: str) -> Iterator[None]:
    """Be the only one at something, which is done in the end.

    Raises:
        TakenError: If somebody else is at it.
    """
    lease = Lease(objects, folder)
    try:
        yield
    except BaseException:
        lease.leave()
        raise
    lease.leave(over=True)


def free_lease(objects: Objects, folder: str, gone: Callable[[Owner], bool]) -> bool:
    """Let others have at once what somebody holds who is known to be gone; whether there was such a one."""
    last = _last(objects, folder)
    there = None if last < 0 else _read(objects, folder, last)
    if there is None or there["beat"] is None or not gone(_owner(there)):
        return False
    objects.write(_name(folder, last), json.dumps(there | {"beat": None}).encode())
    return True


def _name(folder: str, number: int) -> str:
    return f"{folder}/{_LEASE}{number:0{_DIGITS}d}"


def _last(objects: Objects, folder: str) -> int:
    """Number of the newest lease; -1 if there is none."""
    numbers = [name.removeprefix(_LEASE) for name in objects.names(folder) if name.startswith(_LEASE)]
    return max((int(number) for number in numbers if number.isdecimal()), default=-1)


def _read(objects: Objects, folder: str, number: int) -> dict[str, Any] | None:
    """What a lease says; None if it is gone, because its work was done a moment ago."""
    held = objects.read(_name(folder, number))
    if held is None:
        return None
    with suppress(ValueError):
        found = json.loads(held)
        if isinstance(found, dict) and found.keys() == _FIELDS | {"beat"}:
            return found
    return _NOBODY


def _owner(said: dict[str, Any]) -> Owner:
    return Owner(**{name: said[name] for name in _FIELDS})


def _alive(objects: Objects, said: dict[str, Any]) -> bool:
    """Whether an owner still works: on this machine his process says so, elsewhere his heartbeat."""
    if said["beat"] is None:
        return False
    here = works_here(_owner(said))
    return objects.now - said["beat"] < SILENT_S if here is None else here


def _taken(objects: Objects, folder: str, said: dict[str, Any] | None) -> TakenError:
    who = "" if said is None else f": {_owner(said)}"
    remedy = f"wait for it; if it was stopped, try again in {SILENT_S:.0f} seconds"
    return TakenError(objects.at(folder), f"is being written by another process{who}", remedy)
