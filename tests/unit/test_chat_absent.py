"""A server that was never there is given up soon; one that answered before is waited for."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from vidapt.chat import desk
from vidapt.chat.asked import Asked, Bound, Failed, Limits, Said
from vidapt.chat.counter import Counter
from vidapt.chat.served import Served
from vidapt.chat.settings import Budget, Endpoint
from vidapt.errors import VidaptError


class Speaker:
    """Answers, or is away, in the order that is said."""

    name, priced, identity = "one", False, ["one"]
    limits = Limits(concurrency=2, retries=5, patience_s=60.0)

    def __init__(self, there: list[bool]) -> None:
        self.there, self.asked = there, 0

    def sees(self, asked: Asked) -> list[object]:
        return []

    def bound(self, asked: Asked) -> Bound:
        return Bound(1, 1, 0.0)

    def money(self, read: int, written: int) -> float:
        return 0.0

    async def ask(self, asked: Asked) -> Said:
        self.asked += 1
        if not self.there[min(self.asked, len(self.there)) - 1]:
            raise Failed(self.name, "nobody is there", again=True, absent=True)
        return Said(asked.prompt)

    async def close(self) -> None:
        """Nothing is held."""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_FIRST_S", 0.0)


def ask(speaker: Any, folder: Path, *prompts: str) -> list[Any]:
    counter = Counter(speaker, folder / "replies.jsonl", "job", Budget(), 8)
    try:
        return counter.ask([Asked(prompt) for prompt in prompts])
    finally:
        counter.close()


def test_one_that_never_answered_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_PRESENT_S", 0.0)
    speaker = Speaker([False])
    with pytest.raises(VidaptError, match="nobody is there"):
        ask(speaker, tmp_path, *map(str, range(20)))
    assert speaker.asked <= speaker.limits.concurrency


def test_one_that_is_a_little_late_is_asked(tmp_path: Path) -> None:
    ((said, _),) = ask(Speaker([False, False, True]), tmp_path, "a")
    assert said.text == "a"


def test_one_that_answered_and_is_gone_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_PRESENT_S", 0.0)
    speaker = Speaker([True, False, False, False, True])
    speaker.limits = Limits(concurrency=1, retries=5, patience_s=60.0)
    found = ask(speaker, tmp_path, "a", "b", "c")
    assert [said.text for said, _ in found] == ["a", "b", "c"]


def test_a_refused_connection_is_told_with_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def passed() -> float:
        clock[0] += 1.0
        return clock[0]

    monkeypatch.setattr(desk, "time", type("clock", (), {"monotonic": staticmethod(passed)}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(VidaptError) as told:
        ask(Served(Endpoint(url=url, model="m")), tmp_path, "a")
    assert told.value.found.startswith(f"{url}/v1 cannot be reached")
    assert "is up" in told.value.remedy
