"""How far two who sort the same things agree beyond what chance would make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable


def cohen_kappa(pairs: Iterable[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa (Cohen 1960, "A coefficient of agreement for nominal scales").

    Args:
        pairs: For each thing, what the one calls it and what the other does.

    Returns:
        1 for full agreement, 0 for what chance gives, below 0 for less; None where there is nothing, or both
        call everything the same, so that chance alone explains all.
    """
    counts = Counter(pairs)
    total = counts.total()
    if not total:
        return None
    ones: Counter[Hashable] = Counter()
    others: Counter[Hashable] = Counter()
    for (one, other), count in counts.items():
        ones[one] += count
        others[other] += count
    seen = sum(count for (one, other), count in counts.items() if one == other) / total
    chance = sum(ones[name] * others[name] for name in ones) / total**2
    return None if chance == 1 else (seen - chance) / (1 - chance)
