"""Ctrl-C and SIGTERM, which schedulers send: between steps, never inside one.

SIGTERM is made what Ctrl-C is to Python, an exception, so that whatever is kept safe from the one is kept
safe from the other.
"""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

_HELD = (signal.SIGINT, signal.SIGTERM)
_INSIST_S = 0.5


class Terminated(KeyboardInterrupt):
    """SIGTERM came; handled wherever Ctrl-C is."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` where it would end the process on the spot.

    Nothing is changed outside the main thread, where signals cannot be caught, nor where somebody else
    handles or ignores it.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    raised: list[weakref.ref[KeyboardInterrupt]] = []
    over = threading.Event()

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        error = _error(number)
        raised.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error  # else this frame, to which its traceback leads, would keep it alive

    signal.signal(signal.SIGTERM, terminate)
    threading.Thread(target=_insist, args=(raised, over), name="vidapt-sigterm", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _insist(raised: Sequence[weakref.ref[KeyboardInterrupt]], over: threading.Event) -> None:
    """Send the signal again where its exception is gone and nobody left: compiled code may swallow it.

    numpy's `Generator.choice` does, now and then. A scheduler asks once and then kills.
    """
    main, told = threading.main_thread().ident or 0, 0
    while not over.wait(_INSIST_S):
        if len(raised) > told and raised[-1]() is None:
            told = len(raised)
            signal.pthread_kill(main, signal.SIGTERM)  # wakes it from what it waits for


@contextmanager
def between_steps() -> Iterator[Callable[[], KeyboardInterrupt | None]]:
    """Hold back the first signal, so that weights are never saved half updated; a second one ends at once.

    Nothing is held back outside the main thread, where signals cannot be caught, nor where one is ignored, as
    Ctrl-C is in a shell's background jobs.

    Yields:
        A function that gives what is to be raised between two steps; None while no signal came.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if came:
            raise _error(number)
        came.append(number)

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {one: handler for one in _HELD if (handler := signal.getsignal(one)) is not signal.SIG_IGN}
    for one in before:
        signal.signal(one, note)
    try:
        yield lambda: _error(came[0]) if came else None
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _error(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
