"""Folds of a data set for numbers that are held out in turn; what hangs together stays in one fold."""

from __future__ import annotations

from collections.abc import Sequence

from vidapt.curation.split import dealt


def folds(groups: Sequence[int], count: int, seed: int = 0) -> list[int]:
    """Deal samples into folds of about equal size, by their groups.

    Args:
        groups: The group of every sample, as `ties.tie` has it.
        count: How many folds.
        seed: Decides among equals.

    Returns:
        The fold of every sample, from 0.

    Raises:
        ConfigError: If there are fewer groups than folds.
    """
    homes = dealt(groups, {str(fold): 1.0 for fold in range(count)}, seed)
    return [int(homes[group]) for group in groups]
