"""A teacher that is often unwell, for the endurance of `vidapt label`: it fails, stalls, mumbles, and counts.

It is the answering half of `tests/unit/served_tools.serving`. Which request goes wrong is drawn by a seed and
the number of the request; every answer bears a number, so that it can be found again where it was kept.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SHARES: Mapping[str, float] = {
    "error 500": 0.02,
    "rate limit": 0.02,
    "hang up": 0.015,
    "stall": 0.005,
    "no JSON": 0.015,
    "broken answer": 0.015,
    "cut off": 0.01,
}
"""Of requests, which go wrong in which way: a tenth of all."""

USED = {"prompt_tokens": 100, "completion_tokens": 20}


@dataclass
class BadTeacher:
    """Answers as a good one, but for some.

    Attributes:
        good: Gives the reply to a request.
        shares: Of what goes wrong.
        stall_s: How long it says nothing; longer than whoever asks waits.
        seed: Decides what goes wrong.
        sent: Of each request, by a digest of it, the numbers of its answers; an error is none.
        wrong: What went wrong how often.
        requests: How many there were.
    """

    good: Callable[[dict[str, Any]], dict[str, Any]]
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)
    stall_s: float = 3.0
    seed: int = 0
    sent: dict[str, list[int]] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    _until: int | None = None
    _turn: threading.Condition = field(default_factory=threading.Condition)

    def hold(self, more: int | None) -> None:
        """Keep answers back once so many more are sent; None keeps none back."""
        with self._turn:
            self._until = None if more is None else self.answers + more
            self._turn.notify_all()

    def __call__(self, body: dict[str, Any]) -> Any:
        """Answer, or do not."""
        with self._turn:
            self.requests += 1
            number = self.requests
            what = self._drawn(number)
            if what:
                self.wrong[what] += 1
        if what == "error 500":
            return 500, {"error": {"message": "overloaded"}}
        if what == "rate limit":
            return 429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"}
        if what == "hang up":
            return None
        if what == "stall":
            time.sleep(self.stall_s)
            return None
        if what == "no JSON":
            return b"<html>bad gateway"
        return self._answer(body, number, what)

    def _drawn(self, number: int) -> str:
        draw = random.Random(f"{self.seed}/{number}").random()
        for what, share in self.shares.items():
            if draw < share:
                return what
            draw -= share
        return ""

    def _answer(self, body: dict[str, Any], number: int, what: str) -> dict[str, Any]:
        reply = self.good(body)
        choice = reply["choices"][0]
        text = choice["message"]["content"]
        if what:
            text = text[: len(text) // 2]
            choice["finish_reason"] = "length" if what == "cut off" else "stop"
        # Spaces behind an answer change nothing of it, and tell its number.
        choice["message"]["content"] = f"{text}\n" + mark(number)
        with self._turn:
            self._turn.wait_for(lambda: self._until is None or self.answers < self._until)
            self.sent.setdefault(digest_of(body), []).append(number)
        return {**reply, "usage": USED}

    @property
    def answers(self) -> int:
        """How many were sent."""
        return sum(map(len, self.sent.values()))


def digest_of(body: dict[str, Any]) -> str:
    """What tells requests apart."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def mark(number: int) -> str:
    """A number as white space."""
    return f"{number:b}".replace("0", " ").replace("1", "\t")


def number_of(text: str) -> int:
    """The number behind an answer."""
    return int(text.rpartition("\n")[2].replace(" ", "0").replace("\t", "1"), 2)


def paid_twice(teacher: BadTeacher, kept: set[int]) -> list[str]:
    """Requests that were asked again although an answer to them had been kept.

    Args:
        teacher: Who was asked.
        kept: Numbers of the answers that are kept.
    """
    return [
        request
        for request, numbers in teacher.sent.items()
        if any(number in kept for number in sorted(numbers)[:-1])
    ]
