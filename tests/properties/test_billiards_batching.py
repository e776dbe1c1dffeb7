from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.worlds.billiards.clips import Played, play
from vidapt.worlds.billiards.physics import roll
from vidapt.worlds.billiards.shots import plan
from vidapt.worlds.billiards.venues import VENUES

SEED, NUMBERS = 5, 24


@cache
def alone(index: int, venue: int) -> Played:
    (played,) = play(SEED, [index], VENUES[venue])
    return played


@given(
    indices=st.lists(st.integers(0, NUMBERS - 1), min_size=1, max_size=12),
    venue=st.integers(0, len(VENUES) - 1),
)
@settings(max_examples=25, deadline=None)
def test_a_clip_is_the_same_in_any_company(indices, venue):
    for index, played in zip(indices, play(SEED, indices, VENUES[venue]), strict=True):
        single = alone(index, venue)
        assert played.record == single.record
        assert (played.seen == single.seen).all()
        assert (played.path[played.seen] == single.path[single.seen]).all()
        assert (played.shot.start == single.shot.start).all()
        assert played.questions(VENUES[venue]) == single.questions(VENUES[venue])


@given(seeds=st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=6, unique=True))
@settings(max_examples=10, deadline=None)
def test_seeds_give_different_shots_and_any_seed_gives_a_sound_one(seeds):
    shots = [plan(np.random.default_rng([seed, 0])) for seed in seeds]
    rolled = roll(shots)
    assert len({shot.start.tobytes() for shot in shots}) == len(seeds)
    for place, shot in enumerate(shots):
        assert shot.on_table[0]
        assert 1 <= shot.on_table[1:].sum() <= 7
        assert (rolled.seen[place, 0] == shot.on_table).all()
        assert np.isfinite(rolled.paths[place][rolled.seen[place]]).all()
