"""One model with its thread: questions that come within a few milliseconds are answered together.

A batch in which something fails is halved until the question is alone that does, which costs the others time
and nothing else.
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
from vidapt.models.generate import Answer, Decoding
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
        heard: Tokens told so far.
    """

    turns: tuple[Turn, ...]
    clips: Sequence[tuple[Clip, Frames]]
    decoding: Decoding
    until: float
    told: Callable[[int], object] | None = None
    answer: Future[Said] = field(default_factory=Future)
    dropped: bool = False
    heard: int = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.dropped and time.monotonic() < self.until

    @property
    def manner(self) -> tuple[float, float]:
        """Questions of one manner can be answered together."""
        return self.decoding.temperature, self.decoding.top_p


@dataclass(eq=False)
class Errand:
    """Something else that is done with a model, between its batches.

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


class Table:
    """A model at work.

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
        while found := self._gather():
            if isinstance(found, Errand):
                self._run(found)
                continue
            wanted = [job for job in found if job.wanted and job.answer.set_running_or_notify_cancel()]
            try:
                self._write(self._see(wanted))
            except Exception as error:  # noqa: BLE001 - whatever it was, the next question may be answered
                for job in wanted:
                    self._fail(job, error)

    def _run(self, errand: Errand) -> None:
        if not (errand.wanted and errand.answer.set_running_or_notify_cancel()):
            return
        try:
            errand.answer.set_result(errand.work(self.engine))
        except Exception as error:  # noqa: BLE001 - told to whoever asked; the next question may be answered
            self._fail(errand, error)

    def _gather(self) -> list[Job] | Errand:
        """Questions that can be answered together, the oldest among them, or an errand that is as old.

        None of either once the table is closed.
        """
        with self._bell:
            while not self._waiting and not self._closed:
                self._bell.wait()
            until = time.monotonic() + self._terms.gather_s
            while len(self._waiting) < self._terms.batch and not self._closed:
                if (left := until - time.monotonic()) <= 0:
                    break
                self._bell.wait(left)
            if self._closed:
                return []
            first = self._waiting[0]
            if isinstance(first, Errand):
                self._waiting.popleft()
                return first
            jobs = [job for job in self._waiting if isinstance(job, Job)]
            chosen = [job for job in jobs if job.manner == first.manner][: self._terms.batch]
            for job in chosen:
                self._waiting.remove(job)
            return chosen

    def _see(self, jobs: Sequence[Job]) -> list[tuple[Job, list[SeenClip]]]:
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

    def _write(self, ready: Sequence[tuple[Job, list[SeenClip]]]) -> None:
        if not ready:
            return
        try:
            answers = self._together(ready)
        except Exception as error:  # noqa: BLE001 - one of them is to blame, and not the others
            if len(ready) == 1:
                self._fail(ready[0][0], error)
                return
            half = len(ready) // 2
            self._write(ready[:half])
            self._write(ready[half:])
            return
        for (job, seen), answer in zip(ready, answers, strict=True):
            read = len(self.engine.prompt(seen, job.turns)[0])
            self._gauges.add("vidapt_tokens_total", read, model=self.name, kind="read")
            self._gauges.add("vidapt_tokens_total", len(answer.ids), model=self.name, kind="written")
            times = tuple(one.times_s for one in seen)
            job.answer.set_result(Said(self.engine.text(answer), read, len(answer.ids), answer.ended, times))

    def _together(self, ready: Sequence[tuple[Job, list[SeenClip]]]) -> list[Answer]:
        jobs = [job for job, _ in ready]
        written = [0] * len(jobs)

        def told(row: int, token: int) -> bool:
            job = jobs[row]
            written[row] += 1
            if written[row] > job.heard:  # and not once more, where a batch had to be begun anew
                job.heard += 1
                if job.told is not None:
                    job.told(token)
            return job.wanted and written[row] < job.decoding.max_new_tokens

        most = max(job.decoding.max_new_tokens for job in jobs)
        temperature, top_p = jobs[0].manner
        decoding, seeds = Decoding(most, temperature, top_p), [job.decoding.seed for job in jobs]
        self._gauges.add("vidapt_batches_total", model=self.name)
        self._gauges.add("vidapt_batched_total", len(jobs), model=self.name)
        asked = [(seen, [job.turns]) for job, seen in ready]
        return [answers[0] for answers in self.engine.answer(asked, decoding, told, seeds)]

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
