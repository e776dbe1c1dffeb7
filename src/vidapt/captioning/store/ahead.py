"""Looks at the next clips while something is said about these."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from vidapt.video import Meter

T = TypeVar("T")

_END: Final = object()


def one_ahead(source: Generator[T, None, None], stop: Future[None], meter: Meter) -> Generator[T, None, None]:
    """Yields what a generator makes, which makes the next one in a thread of its own meanwhile.

    Never more than one is made ahead, so that two are held at a time: the one that was yielded last, and the
    next. Between them decoders are never without work, and a tower works while a language model writes.

    Args:
        source: Runs and is closed in that thread alone.
        stop: Is given a result when no more is wanted: `source` returns soon, whatever it waits for.
        meter: Is told when there was nothing to do but to wait for `source`.

    Raises:
        Exception: What `source` raises.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="vidapt-look") as pool:
        coming: Future[T | object] = pool.submit(next, source, _END)
        try:
            while True:
                with meter.idle():
                    found = coming.result()
                if found is _END:
                    return
                coming = pool.submit(next, source, _END)
                yield found  # type: ignore[misc]
                del found  # the one after the next is not made beside this one
        finally:
            stop.set_result(None)
            wait([coming])
            pool.submit(source.close).result()
