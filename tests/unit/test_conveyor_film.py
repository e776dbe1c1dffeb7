"""What is filmed is what happened: colours, kinds, defects, places, gates and the arm."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from vidapt.errors import ConfigError
from vidapt.worlds.cameras import homography, project, scale_at
from vidapt.worlds.conveyor import VENUES, find_venue, sample_clip
from vidapt.worlds.conveyor.clips import Played, play
from vidapt.worlds.conveyor.dataset import truth_of
from vidapt.worlds.conveyor.line import COLOURS, DEFECTS, FRAMES, HEIGHT, KINDS, SIZES, SOUND, WIDTH
from vidapt.worlds.conveyor.render import SHAPES
from vidapt.worlds.conveyor.venues import Venue
from vidapt.worlds.paint import NOISE

SEED, CLIPS = 5, 4


class Scene:
    """A few filmed clips of one venue."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.played = play(SEED, range(CLIPS), venue)
        self.films = [one.film() for one in self.played]

    def without(self, played: Played, number: int) -> np.ndarray:
        """The same clip, but for one part."""
        seen = played.ran.seen.copy()
        seen[:, number] = False
        return replace(played, ran=replace(played.ran, seen=seen)).film()


@pytest.fixture(scope="module", params=VENUES, ids=lambda venue: venue.name)
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


@cache
def shown(scene: Scene) -> list[tuple[np.ndarray, np.ndarray, Played, int, int]]:
    """(film, mask of the part alone, clip, number of the part, frame) of parts well inside the picture."""
    found = []
    for played, film in zip(scene.played, scene.films, strict=True):
        for number, part in enumerate(played.plan.parts):
            changed = (film != scene.without(played, number)).any(-1)
            for frame in (2, 17, FRAMES - 2):
                x, y = played.ran.places[frame, number]
                inside = part.radius < x < WIDTH - part.radius and part.radius < y < HEIGHT - part.radius
                if played.ran.seen[frame, number] and inside and changed[frame].sum() > 20:
                    found.append((film, changed[frame], played, number, frame))
    return found


def test_a_film_has_the_venues_size_and_is_the_same_every_time(scene: Scene) -> None:
    for index, (played, film) in enumerate(zip(scene.played, scene.films, strict=True)):
        assert film.shape == (FRAMES, scene.venue.size[1], scene.venue.size[0], 3)
        assert film.dtype == np.uint8
        if index < 2:
            again, record = sample_clip(SEED, index, scene.venue.name)
            assert (again == film).all()
            assert record == played.record
    assert (scene.films[0][0] != scene.films[1][0]).any()


def test_a_part_is_where_its_track_says_and_nowhere_else(scene: Scene) -> None:
    size, looked = np.array(scene.venue.size), 0
    for _, mask, played, number, frame in shown(scene):
        rows, columns = np.nonzero(mask)
        slot = COLOURS.index(played.plan.parts[number].colour)
        there, *share = played.tracks()[frame, slot].astype(float)
        radius = scale_at(homography(scene.venue.view), played.ran.places[frame, number])
        radius *= played.plan.parts[number].radius
        off = np.array([columns.mean(), rows.mean()]) + 0.5 - np.array(share) * size
        assert there == 1
        assert np.hypot(*off) < 0.7 * radius
        looked += 1
    assert looked > 15


def test_a_part_has_its_own_colour_and_no_other_parts(scene: Scene) -> None:
    light = np.linspace(*scene.venue.light, 9)[:, None] * np.asarray(scene.venue.tint)
    colours = dict(scene.venue.colours)
    looked = 0
    for film, mask, played, number, frame in shown(scene):
        part = played.plan.parts[number]
        if part.defect != SOUND or part.size == "small":
            continue
        seen = np.median(film[frame][mask], axis=0)
        near = {
            name: np.abs(np.clip(np.asarray(rgb) * light, NOISE, 255 - NOISE) - seen).max(-1).min()
            for name, rgb in colours.items()
        }
        assert min(near, key=lambda name: near[name]) == part.colour
        looked += 1
    assert looked > 3


def test_kinds_and_defects_differ_in_many_pixels_at_the_size_that_models_see() -> None:
    """At 128 pixels across, small parts of any two kinds or defects differ in eight pixels or more."""
    played = next(one for one in play(SEED, range(20), find_venue("works")) if one.plan.belts)
    pictures = {}
    for kind in KINDS:
        for defect in (SOUND, *DEFECTS):
            part = replace(
                played.plan.parts[0], colour="red", kind=kind, defect=defect, size="small", angle=0.0
            )
            plan = replace(played.plan, parts=(part,), incidents=())
            ran = replace(
                played.ran,
                places=np.broadcast_to((1.0, 0.56), (FRAMES, 1, 2)),
                angles=np.zeros((FRAMES, 1)),
                seen=np.ones((FRAMES, 1), bool),
            )
            film = replace(played, plan=plan, ran=ran).film()[0].astype(float)
            small = film.reshape(72, 2, 128, 2, 3).mean((1, 3))
            pictures[kind, defect] = small[31:41, 59:69]
    names = list(pictures)
    for place, one in enumerate(names):
        for other in names[:place]:
            if one[0] == other[0] or one[1] == other[1]:
                apart = np.abs(pictures[one] - pictures[other]).max(-1) > 40
                assert apart.sum() >= 8, (one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_lies_around_its_middle_and_within_its_size(kind: str) -> None:
    y, x = np.mgrid[-1.6:1.6:65j, -1.6:1.6:65j]
    inside = SHAPES[kind](x, y) <= 0
    assert 0.2 < inside[16:49, 16:49].mean() <= 1
    assert not inside[np.hypot(x, y) > 1.25].any()
    assert abs(x[inside].mean()) < 0.05
    assert abs(y[inside].mean()) < 0.05


def test_belts_move_at_their_speed_and_stand_when_they_stop() -> None:
    venue = find_venue("works")
    played = next(
        one
        for one in play(2, range(60), venue)
        if one.record.happened("stop") and len(one.plan.belts) > 1 and not one.record.happened("start")
    )
    bare = replace(played, ran=replace(played.ran, seen=np.zeros_like(played.ran.seen))).film().astype(float)
    (stop,) = played.record.happened("stop")
    names = [belt.name for belt in played.record.belts]
    begin = round(stop.time_s * 10) + 1
    for number, name in enumerate(names):
        y = project(homography(venue.view), np.array([1.0, _centre(played, number)]))[1]
        rows = bare[begin:, int(y) - 8 : int(y) + 8].mean((1, 3))
        moved = np.abs(rows[8:] - rows[:-8]).max()
        assert (moved < 8) == (name == stop.subject)


def _centre(played: Played, belt: int) -> float:
    return next(
        part
        for part, one in zip(played.ran.places[0, :, 1], played.plan.parts, strict=True)
        if one.belt == belt
    )


def test_a_gate_and_the_arm_are_seen_while_they_are_there(scene: Scene) -> None:
    looked = 0
    for played, film in zip(scene.played, scene.films, strict=True):
        none = np.full_like(played.ran.gates, np.nan), np.full_like(played.ran.arm, np.nan)
        bare = replace(played, ran=replace(played.ran, gates=none[0], arm=none[1])).film()
        changed = (np.abs(film.astype(int) - bare) > 40).any(-1).sum((1, 2))
        there = ~np.isnan(played.ran.gates).all(1) | ~np.isnan(played.ran.arm[:, 0])
        assert not changed[~there].any()
        looked += int((changed[there] > 5).sum())
    assert looked > 5


def test_noise_never_wraps_dark_pixels_to_bright_ones(scene: Scene) -> None:
    for film in scene.films:
        steps = np.abs(np.diff(film.astype(int), axis=0))
        assert np.median(steps) <= 4
        assert np.quantile(steps, 0.5) < np.quantile(steps, 0.999) < 250


def test_truth_says_in_numbers_what_the_record_says_in_words(scene: Scene) -> None:
    truth = truth_of(scene.played)
    assert truth["tracks"].shape == (CLIPS, FRAMES, len(COLOURS), 3)
    assert ((truth["tracks"] >= 0) & (truth["tracks"] <= 1)).all()
    for i, played in enumerate(scene.played):
        slots = {COLOURS.index(part.colour): part for part in played.record.parts}
        assert set(np.flatnonzero(truth["kind"][i] >= 0)) == set(slots)
        for slot, part in slots.items():
            assert KINDS[truth["kind"][i, slot]] == part.kind
            assert list(SIZES)[truth["size"][i, slot]] == part.size
            assert (SOUND, *DEFECTS)[truth["defect"][i, slot]] == part.defect
            assert truth["tracks"][i, :, slot, 0].sum() >= 8
        touches = {(e.subject, e.other) for e in played.record.happened("touch")}
        found = {(slots[a].name, slots[b].name) for a, b in np.argwhere(truth["touches"][i]).tolist()}
        assert found == touches


def test_an_unknown_venue_is_refused_and_the_nearest_name_offered() -> None:
    with pytest.raises(ConfigError, match=r"'plnt'(.|\n)*did you mean 'plant'"):
        sample_clip(0, 0, "plnt")
