"""Many questions to one speaker at once, from code that waits for all of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidapt.chat.asked import Asked, Call, Failed, Said, Speaker, Stop, Tally
from vidapt.chat.desk import Desk
from vidapt.chat.purse import Purse
from vidapt.chat.replies import Replies
from vidapt.chat.settings import Budget
from vidapt.interrupt import between_steps


class Counter:
    """Asks a speaker. Every answer is kept in a file before it counts, so that none is paid for twice.

    Args:
        speaker: Who is asked.
        replies: Where answers are kept.
        job: What money that was spent there is counted for.
        budget: What may be spent.
        give_up: Questions in a row that come to nothing before all ends.

    Raises:
        TakenError: If another process keeps answers there.
    """

    def __init__(self, speaker: Speaker, replies: Path, job: str, budget: Budget, give_up: int) -> None:
        self._currency, self._speaker, self._open = budget.currency, speaker, ExitStack()
        self._replies = self._open.enter_context(Replies(replies, job))
        self._runner = self._open.enter_context(asyncio.Runner())
        self._stopping: Any = lambda: None
        purse = Purse(self._replies.spent, budget.money, budget.tokens)
        self._desk = Desk([speaker], self._replies, purse, give_up, lambda: self._stopping())

    def ask(self, asked: Sequence[Asked], step: str = "question") -> list[tuple[Said, Call] | Failed]:
        """Ask all of these.

        Returns:
            Of each what was said, with what it took; or why it was not answered.

        Raises:
            VidaptError: If no question will be answered any more, or the budget is spent; what was answered
                is kept.
            KeyboardInterrupt: Once what was under way is answered.
        """
        with between_steps() as interrupted:
            self._stopping = interrupted
            found = self._runner.run(self._all(asked, step))
            self._stopping = lambda: None
            if (stop := interrupted()) is not None:
                raise stop
        if self._desk.reason is not None:
            raise self._desk.reason
        return [one for one in found if one is not None]

    def spent(self) -> dict[str, Any]:
        """What all questions took, in earlier jobs, too; money is None where no price is known."""
        spent = asdict(self._replies.spent)
        money = spent["money"] if self._speaker.priced else None
        return {**spent, "money": money, "currency": self._currency}

    def close(self) -> None:
        """Let go of the speaker and of the file."""
        self._runner.run(self._desk.close())
        self._open.close()

    async def _all(self, asked: Sequence[Asked], step: str) -> list[tuple[Said, Call] | Failed | None]:
        return await asyncio.gather(*(self._one(one, step) for one in asked))

    async def _one(self, asked: Asked, step: str) -> tuple[Said, Call] | Failed | None:
        tally = Tally()
        try:
            said = await self._desk.ask(0, asked, step, tally)
        except Stop:
            return None  # `ask` raises the reason
        except Failed as error:
            return error
        return said, tally.calls[-1]
