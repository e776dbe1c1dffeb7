"""Probes of one fact: what each place knows of it, by clips that were held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidapt.digests import seed_of
from vidapt.probing import attentive, linear
from vidapt.probing.facts import Fact
from vidapt.probing.held_out import Ways, chosen, majority
from vidapt.probing.numbers import Right
from vidapt.probing.pooled import Row

PROBES = ("linear", "attentive", "chosen", "shuffled")
"""The two kinds; the one of both that was chosen for each fold; and that with shuffled labels."""

MOST = 1000
"""Examples of a fact that are used; of more, some sources are drawn."""


@dataclass(frozen=True)
class Probed:
    """What is right of a fact's examples.

    Attributes:
        fact: It, with the examples that were used.
        sources: What each example hangs together with.
        common: [N] whether the most common answer is right.
        places: By place and by probe (`PROBES`), [N] whether its answer is right.
    """

    fact: Fact
    sources: tuple[int, ...]
    common: Right
    places: Mapping[str, Mapping[str, Right]]


def probe(
    fact: Fact,
    sources: Sequence[int],
    fold: Sequence[int],
    rows: Callable[[str], Sequence[Row]],
    places: Sequence[str],
    *,
    with_attentive: bool = True,
    device: str | torch.device = "cpu",
) -> Probed:
    """Probe all places for one fact.

    Args:
        fact: Of three folds at least.
        sources: [N] what each example hangs together with.
        fold: [N] the fold of each.
        rows: Gives the tokens of all examples at a place.
        places: Which there are.
        with_attentive: Whether attentive probes learn, too.
        device: Where these learn.
    """
    names = sorted({one.answer for one in fact.examples})
    target = torch.tensor([names.index(one.answer) for one in fact.examples])
    ways = Ways.of(torch.tensor(fold))
    targets = torch.stack((target, _shuffled(target, fact.name)))
    found = {
        place: _place(rows(place), targets, ways, with_attentive=with_attentive, device=device)
        for place in places
    }
    return Probed(fact, tuple(sources), _right(majority(target), target), found)


def _place(
    rows: Sequence[Row], targets: Tensor, ways: Ways, *, with_attentive: bool, device: str | torch.device
) -> dict[str, Right]:
    parts = [
        linear.predictions(linear.means(rows, stretches), targets, ways.learned)
        for stretches in linear.STRETCHES
    ]
    said = {"linear": torch.cat(parts)}
    if with_attentive:
        x, there = attentive.padded(rows)
        said["attentive"] = attentive.predictions(x, there, targets, ways.learned, device)
    both = torch.cat(list(said.values()))
    target, other = targets
    right = {name: _right(chosen(one[:, 0], target, ways), target) for name, one in said.items()}
    right["chosen"] = _right(chosen(both[:, 0], target, ways), target)
    right["shuffled"] = _right(chosen(both[:, 1], other, ways), other)
    return right


def _right(said: Tensor, target: Tensor) -> Right:
    return np.asarray((said == target).numpy(), dtype=np.bool_)


def _shuffled(target: Tensor, name: str) -> Tensor:
    """The same classes in an order that a fact's name decides."""
    draws = torch.Generator().manual_seed(seed_of(0, name) >> 1)
    return target[torch.randperm(len(target), generator=draws)]
