"""Terms that learn nothing: their values stay where chance puts them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

CHANCE = "/chance"


class ChanceWatch:
    """Counts, for each term, the logged steps in a row in which it was near its chance level.

    HiLight's local loss of 50 tokens began at 3.907, where ln 50 is 3.912, and nobody saw it for want of the
    second number.

    Args:
        share: How near, as a share of the chance level.
        patience: After so many logged steps a term is told of.
    """

    def __init__(self, share: float, patience: int) -> None:
        self._share, self._patience = share, patience
        self._rows: Counter[str] = Counter()

    def __call__(self, values: Mapping[str, float]) -> dict[str, float]:
        """Count a logged step; returns `NAME/near_chance`, the count, for terms to be told of."""
        for name in [key.removesuffix(CHANCE) for key in values if key.endswith(CHANCE)]:
            if name in values:
                chance = values[name + CHANCE]
                near = math.isclose(values[name], chance, rel_tol=0.0, abs_tol=self._share * abs(chance))
                self._rows[name] = self._rows[name] + 1 if near else 0
        return {f"{name}/near_chance": float(self._rows[name]) for name in self.stuck}

    @property
    def stuck(self) -> Sequence[str]:
        """Terms to be told of."""
        return [name for name, count in self._rows.items() if count >= self._patience]

    def line(self) -> str:
        """What to tell; empty if there is nothing."""
        if not self.stuck:
            return ""
        return f"{', '.join(self.stuck)} within {self._share:.0%} of chance for {self._patience} logged steps"
