"""Questions that are sent to a tab while an answer comes wait for their turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vidapt.serving.page import asking, blocks
from vidapt.serving.page.asking import Asking
from vidapt.serving.page.tabs import Exchange, Side, Tab
from vidapt.serving.refused import RefusedError


class Slow(Asking):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go, self.asked = asyncio.Semaphore(0), list[str]()

    async def _answer(self, tab: Tab, side: Side, exchange: Exchange) -> None:
        self.asked.append(exchange.question)
        await self.go.acquire()
        exchange.answer = exchange.question.upper()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_BEAT_S", 0.001)


def opened() -> Tab:
    tab = Tab("ann", "file")
    tab.begin(["model"])
    return tab


async def ask(house: Slow, tab: Tab, question: str) -> str:
    """Ask, as the page does; the refusal, if it is refused."""
    try:
        async for _ in house.ask(tab, question):
            pass
    except RefusedError as refused:
        return refused.message
    return ""


async def until(true: Any) -> None:
    while not true():
        await asyncio.sleep(0.001)


def test_questions_are_asked_one_after_the_other_in_their_order() -> None:
    async def asked() -> None:
        house, tab = Slow(), opened()
        tasks = [asyncio.create_task(ask(house, tab, question)) for question in ("a", "b", "c", "d", "e")]
        await until(lambda: len(tab.line) == 3 and tasks[4].done())
        assert tasks[4].result() == "3 questions wait already"
        assert (house.asked, [one.question for one in tab.line]) == (["a"], ["b", "c", "d"])
        assert "3 questions wait for their turn" in blocks._waiting(tab)
        for number in range(1, 5):
            house.go.release()
            await until(lambda number=number: len(house.asked) == min(4, number + 1))
            await until(lambda number=number: len(tab.line) == max(0, 3 - number))
        assert await asyncio.gather(*tasks[:4]) == [""] * 4
        assert [one.answer for one in tab.sides[0].talk] == ["A", "B", "C", "D"]
        assert (tab.busy, tab.line, blocks._waiting(tab)) == (False, [], "")

    asyncio.run(asyncio.wait_for(asked(), 60))


def test_who_waits_is_told_when_the_conversation_is_begun_anew_and_may_leave() -> None:
    async def asked() -> None:
        house, tab = Slow(), opened()
        first, second, third = (asyncio.create_task(ask(house, tab, one)) for one in "abc")
        await until(lambda: len(tab.line) == 2)
        third.cancel()
        await until(lambda: len(tab.line) == 1)
        assert "waits for its turn: b" in blocks._waiting(tab)
        tab.begin(["model"])
        assert await second == "the conversation was begun anew: ask again"
        await first
        assert (house.asked, tab.busy, tab.line) == (["a"], False, [])

    asyncio.run(asyncio.wait_for(asked(), 60))
