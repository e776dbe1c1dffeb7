"""Predictions for what was held out, with everything that is chosen being chosen among the rest.

Each fold is held out in turn. What learns from all other folds answers for it; how it learns (weight of the
penalty, stretches, kind of probe) is what answers best, over the other folds, when each of them is held out
besides.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ways:
    """How examples are left out.

    Attributes:
        fold: [N] the fold of each example.
        learned: [H, N] bool: from which examples is learned, one fold left out, and then two.
        without: Rows of `learned` by the folds that they leave out.
    """

    fold: Tensor
    learned: Tensor
    without: Mapping[frozenset[int], int]

    @classmethod
    def of(cls, fold: Tensor) -> Ways:
        """All ways to leave out one fold, or two.

        Raises:
            ValueError: If there are fewer than three.
        """
        numbers = sorted(set(fold.tolist()))
        if len(numbers) < 3:
            raise ValueError(f"{len(numbers)} folds leave nothing to choose among")
        left = [frozenset(some) for size in (1, 2) for some in itertools.combinations(numbers, size)]
        rows = [~torch.isin(fold, torch.tensor(sorted(some))) for some in left]
        return cls(fold, torch.stack(rows), {some: at for at, some in enumerate(left)})


def chosen(said: Tensor, target: Tensor, ways: Ways) -> Tensor:
    """[N] answers of what was chosen for each fold.

    Args:
        said: [choices, H, N] classes; among equals the first is chosen.
        target: [N] classes.
        ways: As `said` was made.
    """
    right = said == target
    found = torch.empty_like(target)
    folds = sorted(set(ways.fold.tolist()))
    for fold in folds:
        inner = torch.zeros(len(said), dtype=torch.long)
        for other in folds:
            if other != fold:
                inner += right[:, ways.without[frozenset((fold, other))], ways.fold == other].sum(1)
        best = int(torch.nonzero(inner == inner.max())[0])
        here = ways.fold == fold
        found[here] = said[best, ways.without[frozenset((fold,))], here]
    return found


def majority(target: Tensor) -> Tensor:
    """[N] the most common class of all, the first among equals.

    Of all, and not of the other folds: where two classes are about as common, the one that is more common
    elsewhere is less common here, and would be right less often than by chance.
    """
    return torch.full_like(target, int(torch.bincount(target).argmax()))
