"""What is shown while a stage trains: loss, rates, speed, waiting, and what was measured last."""

from __future__ import annotations

from collections.abc import Callable

from vidapt.progress import Reporter
from vidapt.recipe import Stage
from vidapt.training.log import Numbers
from vidapt.training.prefetch import Prefetch
from vidapt.training.schedule import rate_factor

_WAITED = 0.05
"""Share of the time from which on waiting is told."""

_GAUGES = 3
"""So many measured numbers fit into a line."""


class LiveLine:
    """Composes the line.

    Args:
        report: Shows it, beside the steps and the time that is left.
        stage: What the recipe says.
        prefetch: Hands out the steps.
        notes: Tell more; nothing, where they are empty.
    """

    def __init__(self, report: Reporter, stage: Stage, prefetch: Prefetch, *notes: Callable[[], str]) -> None:
        self._report, self._stage, self._prefetch, self._notes = report, stage, prefetch, notes
        self._measured: Numbers = {}

    def __call__(self, done: int, total: int, loss: float) -> None:
        """Show how far the stage is."""
        rates = rate_factor(self._stage.optimizer, done - 1, total)
        words = [f"loss {loss:.3f}", f"rates at {rates:.0%}", self._speed(), self._waited(), self._gauges()]
        words += [note() for note in self._notes]
        self._report(self._stage.name, done, total, "; ".join(word for word in words if word))

    def measuring(self, measure: Callable[[int], Numbers] | None) -> Callable[[int], Numbers] | None:
        """The same measurement, of which the line keeps the newest numbers."""
        if measure is None:
            return None

        def kept(done: int) -> Numbers:
            self._measured = measure(done)
            return self._measured

        return kept

    def _speed(self) -> str:
        speed = self._prefetch.tokens_s
        return "" if speed is None else f"{_short(speed)} tokens/s"

    def _waited(self) -> str:
        share = self._prefetch.share or 0.0
        return f"waited {share:.0%} for data" if share >= _WAITED else ""

    def _gauges(self) -> str:
        """What was measured last; a loss only where nothing else was."""
        told = {name: value for name, value in self._measured.items() if not name.endswith("loss")}
        return ", ".join(
            f"{name.removeprefix('measure/')} {value:.3g}"
            for name, value in list((told or self._measured).items())[:_GAUGES]
        )


def _short(number: float) -> str:
    """A number of three digits and `k` or `M`."""
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {mark}"
    return f"{number:.3g}"
