"""How likely answers are under a model that reads the question and sees no clip; computed once and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vidapt.appended import Appended
from vidapt.digests import digest
from vidapt.progress import Reporter

if TYPE_CHECKING:
    from vidapt.inference.engine import Engine

_TOGETHER = 16
"""Answers that are read at once."""

_NEVER = -1e9
"""Of answers longer than the model reads: nobody guesses them."""


class Likelihood:
    """Mean log-probabilities, kept in a file: a job that was killed computes none of them again.

    Args:
        engine: The model.
        kept: Where numbers are kept.
        report: Shows progress.
    """

    def __init__(self, engine: Engine, kept: Appended, report: Reporter) -> None:
        self._engine, self._kept, self._report = engine, kept, report
        self._known: dict[str, float] = {}
        for _, line in kept.lines():
            if isinstance(line, dict) and isinstance(line.get("mean"), float) and "key" in line:
                self._known[str(line["key"])] = line["mean"]

    @property
    def model(self) -> str:
        """Fingerprint of the model."""
        return self._engine.fingerprint

    def __call__(self, asked: Sequence[tuple[str, str]]) -> list[float]:
        """Mean log-probability of each answer's tokens behind its question, the end mark included."""
        keys = [digest([self._engine.fingerprint, *pair]) for pair in asked]
        new = {key: pair for key, pair in zip(keys, asked, strict=True) if key not in self._known}
        todo = list(new.items())
        for start in range(0, len(todo), _TOGETHER):
            some = todo[start : start + _TOGETHER]
            for (key, _), mean in zip(some, self._means([pair for _, pair in some]), strict=True):
                self._kept.write({"key": key, "mean": mean})
                self._known[key] = mean
            self._report("read without the clip", min(start + _TOGETHER, len(todo)), len(todo))
        return [self._known[key] for key in keys]

    def _means(self, asked: Sequence[tuple[str, str]]) -> list[float]:
        from vidapt.models.reach import reach_of, text_length

        lengths = [text_length(self._engine.encoded(*pair)) for pair in asked]
        reach = reach_of(self._engine.model)
        fits = [place for place, n in enumerate(lengths) if not reach.excess(n, n, packed=True)]
        means = [_NEVER] * len(asked)
        if fits:
            packed, logits = self._engine.answered((), [asked[place] for place in fits])
            logs = logits.double().log_softmax(-1)
            each = logs.gather(1, packed.labels.unsqueeze(1)).squeeze(1)
            for row, place in enumerate(fits):
                means[place] = round(float(each[packed.sample == row].mean()), 6)
        return means


@contextmanager
def likelihood(model: str, path: Path, device: str, report: Reporter) -> Iterator[Likelihood]:
    """Open a model that sees no clips, and the file of its numbers.

    Raises:
        CheckpointError: If there is no such model.
        ConfigError: If it aligns texts and writes none.
        TakenError: If another job keeps its numbers there.
    """
    from vidapt.inference.load import load

    engine = load(model, device=device)
    with closing(Appended(path)) as kept:
        yield Likelihood(engine, kept, report)
