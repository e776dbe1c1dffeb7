"""A judge at work: questions of protocols are put to it, and what it says is read."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vidapt.chat.asked import Asked, Failed, Refused, Speaker, Stop, Tally
from vidapt.chat.desk import Desk
from vidapt.chat.open import open_speakers
from vidapt.chat.purse import Purse
from vidapt.chat.replies import Replies, Spent
from vidapt.digests import digest
from vidapt.errors import ConfigError, VidaptError
from vidapt.interrupt import between_steps
from vidapt.json_replies import UnreadableError, parsed, schema_of
from vidapt.measure.protocols.kept import Judged, Verdicts
from vidapt.measure.protocols.plan import Chosen
from vidapt.measure.protocols.settings import Judging
from vidapt.metrics.cases import CaseProtocol, NoVerdictError, Outcome, Question, Told
from vidapt.progress import Reporter

REPLIES = "judge-replies.jsonl"
PARSER = 1
"""Version of how replies are read, which is part of a judge's id."""

_REFUSES = re.compile(
    r"\s*(?:i['’]?m sorry|sorry|i can(?:no|['’])?t|i am unable|i['’]m unable|as an ai)\b", re.IGNORECASE
)
_AHEAD = 8
"""Cases under way for each question that may be under way."""


@dataclass(frozen=True, slots=True)
class Due:
    """A case that is to be judged.

    Attributes:
        chosen: By which protocol.
        told: What was said.
        around: What all that was said tells together.
    """

    chosen: Chosen
    told: Told
    around: Any = None

    @property
    def key(self) -> str:
        """Of all that a verdict depends on but the judge."""
        case = self.told.case
        posed = [[one.text, list(one.options)] for one in case.posed]
        return digest([self.chosen.identity, posed, dict(case.truth), list(self.told.answers)], 32)


@dataclass
class Rates:
    """How a judge fared.

    Attributes:
        given: Verdicts that were given now.
        kept: Those that were given before.
        retried: Questions that were put again, because a reply could not be used.
        missing: Cases that are without a verdict, among those given now and before.
    """

    given: int = 0
    kept: int = 0
    retried: int = 0
    missing: int = 0


@dataclass
class Bench:
    """Finds verdicts among those that are kept, and asks a judge for the others.

    Attributes:
        verdicts: Where they are kept.
        settings: Of the judge; None where no protocol needs one.
        judge: Who is asked; None where nobody is, as offline.
        judge_id: Snapshot, parser and decoding of the judge.
        rates: How it fares.
    """

    verdicts: Verdicts
    settings: Judging | None
    judge: Asker | None
    judge_id: str
    rates: Rates = field(default_factory=Rates)

    def judged(self, due: Sequence[Due], report: Reporter, task: str) -> list[Judged]:
        """Verdicts on cases, in order.

        Raises:
            ConfigError: If nobody is asked, and one was never given.
            VidaptError: If no question will be answered any more, or the budget is spent; verdicts are kept.
            KeyboardInterrupt: Once what was under way is answered.
        """
        found: dict[int, Judged] = {}
        open_: list[tuple[int, str, Due]] = []
        for place, one in enumerate(due):
            if not one.chosen.part.judged:
                found[place] = plain_verdict(one)
                continue
            key, kept = self._kept(one)
            if kept is None:
                open_.append((place, key, one))
            else:
                self.rates.kept += 1
                found[place] = kept
        if open_ and self.judge is None:
            raise ConfigError(
                self.verdicts.path,
                f"holds no verdict on {len(open_)} of {len(due)} cases of {open_[0][2].chosen.kind}",
                "leave --offline out, so that the judge is asked, or use the same judge file and answers",
            )
        if open_ and self.judge is not None:
            found |= self._asked(self.judge, open_, report, task)
        self.rates.missing += sum(one.status != "valid" for one in found.values())
        return [found[place] for place in range(len(due))]

    def lacks(self, due: Sequence[Due]) -> bool:
        """Whether the judge has to be asked for one of these."""
        return any(one.chosen.part.judged and self._kept(one)[1] is None for one in due)

    def _kept(self, one: Due) -> tuple[str, Judged | None]:
        """A verdict's key, and the verdict unless it has to be asked for."""
        key = digest([self.judge_id, one.key], 32)
        kept = self.verdicts.get(key)
        return key, None if kept is not None and kept.again and self.judge is not None else kept

    def _asked(
        self, judge: Asker, open_: Sequence[tuple[int, str, Due]], report: Reporter, task: str
    ) -> dict[int, Judged]:
        found: dict[int, Judged] = {}

        async def one(place: int, key: str, due: Due) -> None:
            judged = await verdict(judge, due, self.judge_id)
            self.verdicts.keep(key, due.chosen.kind, due.told.case.id, judged)
            self.rates.given += 1
            found[place] = judged
            report(task, len(found), len(open_))

        before = judge.retried
        judge.work([partial(one, *args) for args in open_])
        self.rates.retried += judge.retried - before
        return found


def plain_verdict(due: Due) -> Judged:
    """The verdict on a case that needs no judge."""
    steps = due.chosen.part.steps(due.told, due.around)
    try:
        next(steps)
    except StopIteration as done:
        outcome: Outcome = done.value
        return Judged("valid", outcome.terms, outcome.shown)
    raise AssertionError(f"{due.chosen.kind} asks a judge although it says that it needs none")


async def verdict(judge: Asker, due: Due, judge_id: str) -> Judged:
    """Drive a protocol's steps."""
    part: CaseProtocol = due.chosen.part
    steps = part.steps(due.told, due.around)
    try:
        question = next(steps)
        while True:
            try:
                said = await judge.ask(question, due.chosen.kind)
            except NoVerdictError as error:
                question = steps.throw(error)
            else:
                question = steps.send(said)
    except StopIteration as done:
        outcome: Outcome = done.value
        return Judged("valid", outcome.terms, outcome.shown, judge=judge_id)
    except NoVerdictError as error:
        unanswered = isinstance(error, _UnansweredError)
        return Judged(error.status, reason=error.reason, again=unanswered, judge=judge_id)


class _UnansweredError(NoVerdictError):
    """No reply came at all."""


class Asker:
    """Puts questions to a speaker, again where a reply cannot be used.

    Args:
        settings: How.
        speaker: Whom.
        folder: Where its replies are kept.

    Raises:
        TakenError: If another process writes there.
    """

    def __init__(self, settings: Judging, speaker: Speaker, folder: Path) -> None:
        self._settings, self._speaker, self.retried = settings, speaker, 0
        self._stopping: Callable[[], object] = lambda: None
        self._open = ExitStack()
        self._replies = self._open.enter_context(Replies(folder / REPLIES, self.id))
        purse = Purse(self._replies.spent, settings.budget.money, settings.budget.tokens)
        self._anew = _Anew(speaker)
        speakers: list[Speaker] = [speaker, self._anew]
        self._desk = Desk(speakers, self._replies, purse, settings.give_up, lambda: self._stopping())
        self._runner = self._open.enter_context(asyncio.Runner())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._desk.close())
        self._open.close()

    @property
    def id(self) -> str:
        """Snapshot, parser and decoding."""
        how = self._settings
        return digest([self._speaker.identity, PARSER, how.greedy, how.max_tokens, how.seed, how.tries], 16)

    @property
    def name(self) -> str:
        """Of the speaker."""
        return self._speaker.name

    @property
    def spent(self) -> Spent:
        """What all its verdicts in this folder took."""
        return self._replies.spent

    @property
    def priced(self) -> bool:
        """Whether it is known what it costs."""
        return self._speaker.priced

    def work(self, jobs: Sequence[Callable[[], Any]]) -> None:
        """Carry out coroutines, some at a time.

        Raises:
            VidaptError: If no question will be answered any more, or the budget is spent.
            KeyboardInterrupt: Once what was under way is answered.
        """
        with between_steps() as interrupted:
            self._stopping = interrupted
            self._runner.run(self._all(jobs))
            self._stopping = lambda: None
            if (stop := interrupted()) is not None:
                raise stop
        if self._desk.reason is not None:
            reason: VidaptError = self._desk.reason
            raise reason

    async def _all(self, jobs: Sequence[Callable[[], Any]]) -> None:
        room = asyncio.Semaphore(_AHEAD * self._speaker.limits.concurrency)

        async def one(job: Callable[[], Any]) -> None:
            async with room:
                if not self._desk.ended:
                    with contextlib.suppress(Stop):  # `work` raises the reason
                        await job()

        await asyncio.gather(*map(one, jobs))

    def anew(self, time: int) -> None:
        """From now on questions are put as if they had never been, but for an earlier run of the same time.

        Args:
            time: Which time; 0 goes back to taking replies from before.
        """
        self._anew.time = time

    async def ask(self, question: Question, step: str) -> Any:
        """What a judge says.

        Raises:
            NoVerdictError: If it says nothing that can be used, although it was asked again.
            Stop: If all is to end.
        """
        how = self._settings
        trouble = NoVerdictError("invalid", "was never asked")
        for attempt in range(how.tries):
            self.retried += attempt > 0
            asked = Asked(
                question.prompt if not attempt else _again(question.prompt, trouble.reason, attempt),
                schema=schema_of(question.shape),
                temperature=0.0 if how.greedy else None,
                max_tokens=how.max_tokens,
                seed=how.seed,
            )
            try:
                said = await self._desk.ask(int(self._anew.time > 0), asked, step, Tally())
                return read_reply(said.text, question)
            except Refused as error:
                trouble = NoVerdictError("refused", error.found)
            except Failed as error:
                raise _UnansweredError("invalid", error.found) from None
            except NoVerdictError as error:
                trouble = error
        raise trouble


class _Anew:
    """A speaker whose replies of before are not taken, since it may have changed."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker, self.time = speaker, 0
        self.name, self.limits, self.priced = speaker.name, speaker.limits, speaker.priced
        self.sees, self.bound, self.money = speaker.sees, speaker.bound, speaker.money
        self.ask = speaker.ask

    @property
    def identity(self) -> list[object]:
        """The speaker's, and which time it is asked."""
        return [self._speaker.identity, self.time]

    async def close(self) -> None:
        """The speaker is closed by itself."""


def read_reply(text: str, question: Question) -> Any:
    """What a judge's reply says.

    Raises:
        NoVerdictError: If that is nothing that was asked for.
    """
    try:
        found = parsed(text, question.shape)
    except UnreadableError as error:
        if _REFUSES.match(text):
            raise NoVerdictError("refused", "it refuses in words") from None
        raise NoVerdictError("invalid", str(error)) from None
    wrong = question.check(found) if question.check is not None else None
    if wrong:
        raise NoVerdictError("invalid", wrong)
    return found


def _again(prompt: str, reason: str, attempt: int) -> str:
    """The question put again; other words than before, since the same ones have the same reply."""
    told = f"Reply {attempt} could not be used ({reason[:300]})."
    return f"{prompt}\n\n{told} Answer in English, with the JSON object alone."


def open_judge(settings: Judging, folder: Path) -> Asker:
    """Open whom a file describes.

    Raises:
        ConfigError: If nobody is described, or cannot be asked.
        CheckpointError: If there is no such model.
    """
    if settings.judge is None:
        raise ConfigError("--judge", "describes no judge", "write `judge: {url: ..., model: ...}` into it")
    (speaker,) = open_speakers([settings.judge])
    return Asker(settings, speaker, folder)
