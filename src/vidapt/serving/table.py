"""One model with its thread: a question joins those that are being answered, at their next token.

Where something fails, questions are answered one by one, so that the one that does is alone: that costs the
others time and nothing else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

from vidapt.errors import BrokenClip, VidaptError
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.models.decoding import Answer, Decoding
from vidapt.models.memory import release
from vidapt.models.running import Running
from vidapt.nouns import Clip, Frames, Turn
from vidapt.serving.gauges import Gauges
from vidapt.serving.refused import RefusedError, fault_of, wrong
from vidapt.serving.terms import Terms


@dataclass(frozen=True)
class Said:
    """An answer.

    Attributes:
        text: Its words.
        read: Tokens that were read before it.
        written: Tokens of its own.
        ended: Whether it ended by itself.
        times_s: Seconds of the frames used, clip after clip.
    """

    text: str
    read: int
    written: int
    ended: bool
    times_s: tuple[tuple[float, ...], ...] = ()


@dataclass(eq=False)
class Job:
    """One question on its way.

    Attributes:
        turns: The conversation, which ends with it.
        clips: What it is about, decoded.
        decoding: How tokens are chosen.
        until: Moment of the monotonic clock at which nobody waits for it any more.
        told: Is told every token as it is written, in the model's thread.
        answer: Comes to hold the answer, or a `RefusedError`.
        dropped: Nobody wants it any more; set by whoever asked.
        written: Tokens written so far.
        heard: Tokens told so far.
    """

    turns: tuple[Turn, ...]
    clips: Sequence[tuple[Clip, Frames]]
    decoding: Decoding
    until: float
    told: Callable[[int], object] | None = None
    answer: Future[Said] = field(default_factory=Future)
    dropped: bool = False
    written: int = 0
    heard: int = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.dropped and time.monotonic() < self.until


@dataclass(eq=False)
class Errand:
    """Something else that is done with a model, between two tokens of its answers.

    Attributes:
        work: Is given the model, in the model's thread.
        until: Moment of the monotonic clock at which nobody waits for it any more.
        answer: Comes to hold what `work` returns, or a `RefusedError`.
        dropped: Nobody wants it any more; set by whoever asked.
    """

    work: Callable[[Engine], Any]
    until: float
    answer: Future[Any] = field(default_factory=Future)
    dropped: bool = False

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.dropped and time.monotonic() < self.until


_Ready = tuple[Job, list[SeenClip]]


class Table:
    """A model at work. A question joins those that are being answered at their next token.

    Args:
        engine: The model, which nobody else uses.
        name: What clients call it.
        terms: What is granted.
        gauges: Where batches and tokens are counted.
    """

    def __init__(self, engine: Engine, name: str, terms: Terms, gauges: Gauges) -> None:
        self.engine, self.name = engine, name
        self._terms, self._gauges = terms, gauges
        self._waiting: deque[Job | Errand] = deque()
        self._bell = Condition()
        self._closed = False
        self._running = Running(engine.model, engine.stops, self._told)
        self._inside: dict[int, _Ready] = {}
        self._number = 0
        self._thread = Thread(target=self._work, name=f"vidapt-serve-{name}", daemon=True)
        self._thread.start()

    def ask(self, job: Job | Errand) -> None:
        """Put a question or an errand in line.

        Raises:
            RefusedError: If the line is full, or the model is not there any more.
        """
        with self._bell:
            if self._closed:
                raise RefusedError(503, "ending", "the server is ending: ask another one", retry_s=5)
            if len(self._waiting) >= self._terms.queue:
                raise RefusedError(429, "server_busy", "too many questions wait for this model", retry_s=1)
            self._waiting.append(job)
            self._bell.notify()

    @property
    def waiting(self) -> int:
        """Questions in line."""
        return len(self._waiting)

    def close(self, wait_s: float = 5.0) -> None:
        """Answer nobody any more."""
        with self._bell:
            self._closed = True
            for job in self._waiting:
                job.dropped = True
            self._bell.notify_all()
        self._thread.join(wait_s)

    def _work(self) -> None:
        """Answer until the table is closed: questions that come join those that are being answered."""
        while (found := self._gather()) is not None:
            wanted = [one for one in found if one.wanted and one.answer.set_running_or_notify_cancel()]
            for one in wanted:
                if isinstance(one, Errand):
                    self._run(one)
            jobs = [one for one in wanted if isinstance(one, Job)]
            try:
                self._begin(self._see(jobs))
            except Exception as error:  # noqa: BLE001 - whatever it was, the next question may be answered
                for job in jobs:
                    self._fail(job, error)
            self._step()

    def _run(self, errand: Errand) -> None:
        try:
            errand.answer.set_result(errand.work(self.engine))
        except Exception as error:  # noqa: BLE001 - told to whoever asked; the next question may be answered
            self._fail(errand, error)

    def _gather(self) -> list[Job | Errand] | None:
        """What waits and has room, the oldest first; None once the table is closed."""
        with self._bell:
            while not self._waiting and not self._inside and not self._closed:
                self._bell.wait()
            if not self._inside:
                self._wait_for_others()
            if self._closed:
                return None
            room = self._terms.batch - len(self._inside)
            return [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]

    def _wait_for_others(self) -> None:
        """Those that come at about the same time are seen and read together."""
        until = time.monotonic() + self._terms.gather_s
        while len(self._waiting) < self._terms.batch and not self._closed:
            if (left := until - time.monotonic()) <= 0:
                break
            self._bell.wait(left)

    def _see(self, jobs: Sequence[Job]) -> list[_Ready]:
        """Jobs with their clips as the model reads them, without those that cannot be answered."""
        sound: list[tuple[Job, int]] = []
        for job in jobs:
            try:
                sound.append((job, self.engine.text_tokens(job.turns, len(job.clips))))
            except Exception as error:  # noqa: BLE001 - text is untrusted, and costs its own question alone
                self._fail(job, error)
        try:
            seen = self.engine.see_each([(job.clips, tokens) for job, tokens in sound])
        except Exception as error:  # noqa: BLE001 - such as no memory for so many at once
            if len(sound) == 1:
                self._fail(sound[0][0], error)
                return []
            return [one for job, _ in sound for one in self._see([job])]
        found = []
        for (job, _), clips in zip(sound, seen, strict=True):
            if isinstance(clips, BrokenClip):
                self._fail(job, clips)
            else:
                found.append((job, clips))
        return found

    def _begin(self, ready: Sequence[_Ready]) -> None:
        """Let questions join; where that fails, each of them tries alone."""
        if not ready:
            return
        try:
            begun = [
                self.engine.begun(seen, job.turns, job.decoding, number)
                for number, (job, seen) in enumerate(ready, self._number)
            ]
            self._running.join([asked for asked, _ in begun], [writing for _, writing in begun])
        except Exception as error:  # noqa: BLE001 - one of them is to blame, and not the others
            if self._inside and not self._running.alive:
                self._apart()  # those that were being answered have to begin anew
            if len(ready) == 1:
                self._fail(ready[0][0], error)
                return
            for one in ready:
                self._begin([one])
            return
        for number, one in enumerate(ready, self._number):
            self._inside[number] = one
        self._number += len(ready)
        self._gauges.add("vidapt_batches_total", model=self.name)
        self._gauges.add("vidapt_batched_total", len(ready), model=self.name)

    def _step(self) -> None:
        """Write a token of every answer; whoever has ended is told."""
        if not self._running.alive:
            return
        try:
            ended = self._running.step()
        except Exception as error:  # noqa: BLE001 - one of them is to blame, and not the others
            if len(self._inside) > 1:
                self._apart()
                return
            self._running.clear()
            for job, _ in self._inside.values():
                self._fail(job, error)
            self._inside.clear()
            return
        for writing in ended:
            self._tell(*self._inside.pop(writing.number), writing.answer)

    def _apart(self) -> None:
        """What was being written together failed: each is answered alone, so that the one to blame is."""
        self._running.clear()
        release()
        inside, self._inside = list(self._inside.values()), {}
        for one in inside:
            one[0].written = 0
            self._begin([one])
            while self._running.alive:
                self._step()

    def _tell(self, job: Job, seen: Sequence[SeenClip], answer: Answer) -> None:
        try:
            read, text = len(self.engine.prompt(seen, job.turns)[0]), self.engine.text(answer)
        except Exception as error:  # noqa: BLE001 - costs its own question alone
            self._fail(job, error)
            return
        self._gauges.add("vidapt_tokens_total", read, model=self.name, kind="read")
        self._gauges.add("vidapt_tokens_total", len(answer.ids), model=self.name, kind="written")
        times = tuple(one.times_s for one in seen)
        job.answer.set_result(Said(text, read, len(answer.ids), answer.ended, times))

    def _told(self, number: int, token: int) -> bool:
        job = self._inside[number][0]
        job.written += 1
        if job.written > job.heard:  # and not once more, where it had to be begun anew
            job.heard += 1
            if job.told is not None:
                job.told(token)
        return job.wanted

    def _fail(self, job: Job | Errand, error: Exception) -> None:
        if job.answer.done():
            return
        if not isinstance(error, VidaptError | RefusedError):
            self._gauges.add("vidapt_failures_total", model=self.name)
        job.answer.set_exception(as_refusal(error))


def as_refusal(error: Exception) -> RefusedError:
    """An error as it is told to clients: without paths of this machine, or what nobody foresaw."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, BrokenClip):
        return wrong(f"the clip cannot be used: {error.reason}", "messages", "unusable_media")
    if isinstance(error, VidaptError):
        told = f"{error.where} {error.found}" + (f": {error.remedy}" if error.remedy else "")
        return wrong(told, "messages", "unusable_question")
    failed = RefusedError(500, "model_failed", "the model failed; ask whoever runs this server")
    failed.fault = fault_of(error)
    return failed
