"""At which moments a model looked, where its answers do not say so: found anew by its policy."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vidapt.errors import BrokenClip
from vidapt.looking_over.book import Book
from vidapt.nouns import Clip
from vidapt.video import Limits, Policy, Wanted, decode_each

_LIMITS = Limits(memory_bytes=512 << 20, wall_s=30.0)
_SIDE = 32
"""Frames are decoded for their moments alone."""
_KEPT = 4_096


class Moments:
    """Moments of the frames that models see of clips, one clip after the other, in a process that may die.

    Args:
        book: Clips and models.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self._hand = ThreadPoolExecutor(1)
        self._known: OrderedDict[tuple[int, int], Future[list[float]]] = OrderedDict()

    def close(self) -> None:
        """Stop; who still waits is told nothing."""
        self._hand.shutdown(wait=False, cancel_futures=True)

    def of(self, clip: int, column: int) -> Future[list[float]] | None:
        """Seconds of the file at which a model looked, or what is wrong with it; None if nobody knows."""
        policy = _policy(self._book.columns[column].policy)
        if policy is None:
            return None
        key = (clip, column)
        if key not in self._known or _failed(self._known[key]):  # the clip may have been mended
            self._known[key] = self._hand.submit(_moments, self._book.clips[clip], policy)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)[1].cancel()
        return self._known[key]


def _failed(one: Future[list[float]]) -> bool:
    return one.cancelled() or (one.done() and one.exception() is not None)


def _policy(plain: Any) -> Policy | None:
    if plain is None:
        return None
    try:
        found: Policy = TypeAdapter(Policy).validate_python(plain)
    except ValidationError:  # of another version of vidapt
        return None
    return found


def _moments(clip: Clip, policy: Policy) -> list[float]:
    (_, found), *_ = decode_each([Wanted(clip, policy, (_SIDE, _SIDE))], workers=1, ahead=1, limits=_LIMITS)
    if isinstance(found, BrokenClip):
        raise found
    return [float(second) for second in found.times_s]
