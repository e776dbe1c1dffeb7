"""True and false statements from a world that knows what happened: false ones are false, not only changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidapt.worlds.known import World

# Streams of random numbers of their own; the world's clips use lower ones.
_PAIRS, _LENGTHS = 101, 102

LENGTH = "length"
"""Kind of a pair of a short true statement and a long false one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A true statement and a false one.

    Attributes:
        kind: The fact in which they differ, such as `colour`, `pocket`, `side`, `order`; or `length`.
        true: Borne out by the log.
        false: Not borne out.
    """

    kind: str
    true: str
    false: str


def exact_pairs(world: World, record: Any, style: Any, *, seed: int = 0, count: int = 4) -> list[Pair]:
    """Pairs of statements that differ in one word.

    Args:
        world: Whose clip it is.
        record: What happened in the clip.
        style: How it is said.
        seed: The same clip, style and seed give the same pairs.
        count: How many are wanted at most.
    """
    rng = np.random.default_rng([seed, record.index, _PAIRS])
    told = world.changeable(record)
    pairs = []
    for place in rng.permutation(len(told)).tolist():
        wrong = world.falsify(told[place], record, rng)
        if wrong is not None:
            kind = world.difference(told[place], wrong)
            pairs.append(Pair(kind, _sentence(told[place], style), _sentence(wrong, style)))
    return pairs[:count]


def short_and_long(world: World, record: Any, style: Any, *, seed: int = 0) -> Pair | None:
    """A short true statement, and a long description that is true but for one word.

    Args:
        world: Whose clip it is.
        record: What happened in the clip.
        style: How it is said.
        seed: As for `exact_pairs`.

    Returns:
        None where too little happened to be described at length.
    """
    rng = np.random.default_rng([seed, record.index, _LENGTHS])
    told = world.story(record)
    if len(told) < 2:
        return None
    short = told[int(rng.integers(len(told)))]
    for place in rng.permutation(len(told)).tolist():
        wrong = world.falsify(told[place], record, rng) if told[place].subject else None
        if wrong is not None:
            said = [*told[:place], wrong, *told[place + 1 :]]
            return Pair(LENGTH, _sentence(short, style), " ".join(_sentence(claim, style) for claim in said))
    return None


def all_pairs(world: World, record: Any, style: Any, *, seed: int = 0, count: int = 4) -> Iterator[Pair]:
    """`exact_pairs`, then `short_and_long` where there is one."""
    yield from exact_pairs(world, record, style, seed=seed, count=count)
    pair = short_and_long(world, record, style, seed=seed)
    if pair is not None:
        yield pair


def _sentence(claim: Any, style: Any) -> str:
    return f"{claim.say(style)}."
