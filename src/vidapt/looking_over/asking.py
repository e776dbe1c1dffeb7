"""A model that is asked while the page is up: one question at a time, beside all else."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from vidapt.errors import BrokenClip
from vidapt.looking_over.differ import plain
from vidapt.looking_over.pictures import BusyError
from vidapt.looking_over.shapes import Told, spans_of
from vidapt.nouns import Sample

if TYPE_CHECKING:
    from vidapt.inference.engine import Engine

_MOST_TOKENS = 256


class Asker:
    """Answers the questions of rows.

    Args:
        name: The model, which is opened when it is first asked; empty for none.
        device: Where it runs.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        self.name, self._device = name, device
        self._hand = ThreadPoolExecutor(1)
        self._lock = Lock()
        self._now: Future[Told] | None = None

    def close(self) -> None:
        """Stop; an answer under way is waited for by nobody."""
        self._hand.shutdown(wait=False, cancel_futures=True)

    def ask(self, sample: Sample, *, blind: bool) -> Future[Told]:
        """What the model says to a row's question, with its clips or without.

        Returns:
            The answer; or what is wrong with a clip (`BrokenClip`) or the model (`VidaptError`).

        Raises:
            BusyError: If another question is being answered.
        """
        with self._lock:
            if self._now is not None and not self._now.done():
                raise BusyError("the model is answering another question: ask again in a moment")
            self._now = self._hand.submit(self._answer, sample, blind=blind)
            return self._now

    @cached_property
    def _engine(self) -> Engine:
        from vidapt.inference.load import load

        return load(self.name, device=self._device)

    def _answer(self, sample: Sample, *, blind: bool) -> Told:
        from vidapt.models.decoding import Decoding

        began = time.perf_counter()
        engine, seen = self._engine, []
        for found in () if blind else engine.watch(sample.media, workers=1, batch=1):
            if isinstance(found, BrokenClip):
                raise found
            seen.append(found)
        question = sample.question if seen else plain(sample.question)
        ((answer,),) = engine.answer([(seen, [question])], Decoding(max_new_tokens=_MOST_TOKENS))
        begin, text = sample.media[0].start_s if sample.media else 0.0, engine.text(answer)
        return Told(
            model=engine.name,
            text=text,
            frames=[second for one in seen for second in one.times_s],
            spans=spans_of(text, begin),
            seconds=round(time.perf_counter() - began, 2),
        )
