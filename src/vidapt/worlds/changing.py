"""Changes claims in one word until they are false, so that true and false statements look alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from vidapt.worlds.phrases import Claim, Noun

Pools = Callable[[Noun, str], tuple[list[str], list[str]]]
"""What may stand in the place of a word: what is there in the clip, then what is not."""
Falsify = Callable[[Claim], Claim | None]


def change(
    claim: Claim,
    nouns: tuple[Noun, Noun],
    pools: Pools,
    is_true: Callable[[Claim], bool],
    rng: np.random.Generator,
) -> Claim | None:
    """Change one word of a claim so that it becomes false but stays plausible.

    Args:
        claim: A true one.
        nouns: Of its subject and its object.
        pools: What is there is taken wherever it makes the claim false.
        is_true: Whether a claim is borne out.
        rng: Draws the word and its change.

    Returns:
        None if no change of one word makes it false.
    """
    subjects = [
        [Claim(claim.kind, other, claim.where) for other in others if other != claim.where]
        for others in pools(nouns[0], claim.subject)
    ]
    objects = [
        [Claim(claim.kind, claim.subject, other) for other in others if other != claim.subject]
        for others in pools(nouns[1], claim.where)
    ]
    near = [subjects[0], objects[0]] if rng.random() < 0.5 else [objects[0], subjects[0]]
    for pool in [*near, subjects[1], objects[1]]:
        wrong = [option for option in pool if not is_true(option)]
        if wrong:
            return wrong[int(rng.integers(len(wrong)))]
    return None


def pairs(
    sources: Sequence[Claim], falsify: Falsify, rng: np.random.Generator, count: int
) -> Iterator[tuple[Claim, Claim]]:
    """Draw up to `count` true claims, each with a false copy."""
    drawn = (sources[place] for place in rng.permutation(len(sources)).tolist())
    told = ((claim, falsify(claim)) for claim in drawn)
    yield from islice(((claim, wrong) for claim, wrong in told if wrong is not None), count)


def false_ones(
    sources: Sequence[Claim], falsify: Falsify, rng: np.random.Generator, count: int
) -> list[Claim]:
    """Up to `count` distinct false copies of true claims."""
    wrong: list[Claim] = []
    for place in rng.permutation(len(sources) * 4).tolist():
        claim = falsify(sources[place % len(sources)])
        if claim is not None and claim not in wrong and len(wrong) < count:
            wrong.append(claim)
    return wrong
