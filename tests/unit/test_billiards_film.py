from __future__ import annotations

import io
from dataclasses import replace

import av
import numpy as np
import pytest

from vidapt.errors import ConfigError
from vidapt.worlds.billiards import VENUES, find_venue, sample_clip
from vidapt.worlds.billiards.cameras import homography
from vidapt.worlds.billiards.clips import Played, play
from vidapt.worlds.billiards.table import (
    BALL_RADIUS,
    FPS,
    FRAMES,
    HEIGHT,
    POCKET_CENTRES,
    SLOTS,
    STRIKE_S,
    WIDTH,
)
from vidapt.worlds.billiards.venues import Rgb, Venue
from vidapt.worlds.cameras import project, scale_at
from vidapt.worlds.encode import encode

SEED, CLIPS = 31, 4
FLOOR_DB = 29.0
"""Subsampled colour costs most of it: small saturated balls on a cloth of another hue."""


class Scene:
    """A few filmed clips of one venue."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.played = play(SEED, range(CLIPS), venue)
        self.films = [played.film(venue) for played in self.played]

    def without(self, played: Played, slot: int) -> np.ndarray:
        """The same clip, but for one ball."""
        seen = played.seen.copy()
        seen[:, slot] = False
        return replace(played, seen=seen).film(self.venue)

    def pixels(self, played: Played, frame: int, slot: int) -> tuple[np.ndarray, float]:
        """Where a ball is in the picture, and its radius there."""
        matrix, spot = homography(self.venue), played.path[frame, slot].astype(float)
        return project(matrix, spot), float(scale_at(matrix, spot)) * BALL_RADIUS


@pytest.fixture(scope="module", params=VENUES, ids=lambda venue: venue.name)
def scene(request) -> Scene:
    return Scene(request.param)


def shown_balls(scene: Scene):
    """(film, where the picture changes if the ball is taken away, played, slot, frame) of balls in view."""
    for played, film in zip(scene.played, scene.films, strict=True):
        for slot in np.flatnonzero(played.shot.on_table):
            changed = (film != scene.without(played, slot)).any(-1)
            for frame in (0, 12, FRAMES - 1):
                _, radius = scene.pixels(played, frame, slot)
                if played.seen[frame, slot] and changed[frame].sum() > 0.9 * np.pi * radius**2:
                    yield film, changed, played, slot, frame


def distance(seen: np.ndarray, rgb: Rgb, venue: Venue) -> float:
    """Largest difference of a seen colour from `rgb` under the best brightness this venue can have."""
    light = np.linspace(*venue.light, 9)[:, None] * np.asarray(venue.tint)
    lit = np.clip(np.asarray(rgb) * light, 8, 247)
    return float(np.abs(lit - seen).max(-1).min())


def test_a_film_has_the_venues_size_and_is_the_same_every_time(scene):
    for played, film in zip(scene.played, scene.films, strict=True):
        assert film.shape == (FRAMES, scene.venue.size[1], scene.venue.size[0], 3)
        assert film.dtype == np.uint8
        assert (film == played.film(scene.venue)).all()
    assert (scene.films[0][0] != scene.films[1][0]).any()


def test_the_film_is_that_of_sample_clip(scene):
    film, record = sample_clip(SEED, 1, scene.venue.name)
    assert (film == scene.films[1]).all()
    assert record == scene.played[1].record


def test_every_ball_has_its_own_colour_and_no_other_balls(scene):
    colours = [scene.venue.white, *(rgb for _, rgb in scene.venue.balls)]
    looked_at = 0
    for film, changed, played, slot, frame in shown_balls(scene):
        (x, y), radius = scene.pixels(played, frame, slot)
        rows, columns = np.mgrid[0 : film.shape[1], 0 : film.shape[2]]
        middle = np.hypot(columns + 0.5 - x - 0.2 * radius, rows + 0.5 - y - 0.2 * radius) < 0.6 * radius
        seen = np.median(film[frame][middle & changed[frame]], axis=0)
        assert distance(seen, colours[slot], scene.venue) < 30
        assert min(range(SLOTS), key=lambda other: distance(seen, colours[other], scene.venue)) == slot
        looked_at += 1
    assert looked_at > 20


def test_tracks_say_where_each_ball_is_in_the_picture(scene):
    size = np.array(scene.venue.size)
    offsets = []
    for film, changed, played, slot, frame in shown_balls(scene):
        tracks = played.tracks(scene.venue)
        rows, columns = np.nonzero(changed[frame])
        centre = np.array([columns.mean(), rows.mean()]) + 0.5
        _, radius = scene.pixels(played, frame, slot)
        assert tracks[frame, slot, 0] == 1
        offset = centre - tracks[frame, slot, 1:].astype(float) * size
        assert np.hypot(*offset) < 0.5 * radius
        offsets.append(offset)
        assert film.shape[2] == size[0]
    assert np.abs(np.mean(offsets, axis=0)).max() < 1.0


def test_a_ball_is_painted_while_it_is_on_the_table_and_never_after(scene):
    gone = 0
    for played, film in zip(scene.played, scene.films, strict=True):
        for slot in range(SLOTS):
            changed = (film != scene.without(played, slot)).any((1, 2, 3))
            assert not changed[~played.seen[:, slot]].any()
            gone += bool(played.seen[0, slot]) and not played.seen[-1, slot]
    assert gone > 0


def test_tracks_are_shares_of_the_picture_and_zero_where_no_ball_is(scene):
    for played in scene.played:
        tracks = played.tracks(scene.venue)
        assert tracks.shape == (FRAMES, SLOTS, 3)
        assert tracks.dtype == np.float16
        assert (tracks[..., 0] == played.seen).all()
        assert (tracks[~played.seen] == 0).all()
        assert ((tracks >= 0) & (tracks <= 1)).all()


def test_the_player_wears_the_shirt_of_the_record(scene):
    shirts = dict(scene.venue.shirts)
    for played, film in zip(scene.played, scene.films, strict=True):
        other = next(name for name in shirts if name not in (played.record.shirt, "black"))
        dressed = replace(played, record=replace(played.record, shirt=other)).film(scene.venue)
        body = (film != dressed).all(-1)
        assert body.any((1, 2)).all()
        assert body[-1].sum() > 60
        mean = np.median(film[-1][body[-1]], axis=0)
        assert distance(mean, shirts[played.record.shirt], scene.venue) < 40


def test_the_cue_points_at_the_white_ball_until_just_after_the_strike(scene):
    last = round((STRIKE_S + 0.1) * FPS)
    wood = np.array([222, 188, 124]) * np.mean(scene.venue.light)
    for played, film in zip(scene.played, scene.films, strict=True):
        back = -played.shot.strike / np.hypot(*played.shot.strike)
        behind = played.shot.start[0] + back * np.linspace(BALL_RADIUS + 0.16, BALL_RADIUS + 0.4, 40)[:, None]
        columns, rows = np.floor(project(homography(scene.venue), behind)).astype(int).T
        inside = (columns >= 0) & (columns < film.shape[2]) & (rows >= 0) & (rows < film.shape[1])
        along = film[:, rows[inside], columns[inside]].astype(float)
        wooden = (np.abs(along - wood).max(-1) < 50).mean(1)
        # A player in a yellow or white shirt may stand where the cue was.
        assert wooden[: last + 1].min() > 0.6
        assert np.median(wooden[last + 1 :]) < 0.4


def test_noise_never_wraps_dark_pixels_to_bright_ones(scene):
    matrix = homography(scene.venue)
    for film in scene.films:
        columns, rows = np.floor(project(matrix, POCKET_CENTRES)).astype(int).T
        holes = film[:, rows, columns].max(-1)
        # A hole that the player or the cue covers is not dark; no ball is painted over the middle of one.
        dark = np.median(holes, axis=0) < 30
        assert dark.sum() >= 3
        assert holes[:, dark].max() < 60


def test_the_camera_puts_the_corners_of_the_cloth_where_the_venue_says(scene):
    corners = np.array([[0, HEIGHT], [WIDTH, HEIGHT], [WIDTH, 0], [0, 0]], float)
    seen = project(homography(scene.venue), corners) / scene.venue.size
    np.testing.assert_allclose(seen, scene.venue.corners, atol=1e-9)
    back = project(np.linalg.inv(homography(scene.venue)), seen * scene.venue.size)
    np.testing.assert_allclose(back, corners, atol=1e-9)


def test_the_scale_is_that_of_a_small_square_on_the_cloth(scene):
    matrix, step = homography(scene.venue), 1e-4
    for spot in np.random.default_rng(0).uniform([0, 0], [WIDTH, HEIGHT], (20, 2)):
        here, right, up = (project(matrix, spot + np.array(d) * step) for d in ((0, 0), (1, 0), (0, 1)))
        (a, b), (c, d) = right - here, up - here
        assert scale_at(matrix, spot) == pytest.approx(np.sqrt(abs(a * d - b * c)) / step, rel=1e-3)


def test_an_encoded_clip_decodes_to_all_its_frames_close_to_the_film(scene):
    film = scene.films[0]
    data = encode(film, FPS)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == FPS
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == pytest.approx([i / FPS for i in range(FRAMES)])
    assert [i for i, frame in enumerate(frames) if frame.key_frame][:3] == [0, 12, 24]
    decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(float)
    assert decoded.shape == film.shape
    error = ((decoded - film) ** 2).mean((1, 2, 3))
    assert (10 * np.log10(255**2 / error)).min() > FLOOR_DB


def test_the_same_film_gives_the_same_bytes_whatever_lies_in_memory(scene):
    rng = np.random.default_rng(0)
    for film in scene.films:
        files = set()
        for size in (100_000, 1_500_000, 300_000):
            litter = [rng.integers(0, 255, size + 977 * k, dtype=np.uint8) for k in range(12)]
            del litter
            files.add(encode(film, FPS))
        assert len(files) == 1


def test_an_unknown_venue_is_refused_and_the_nearest_name_offered():
    with pytest.raises(ConfigError, match=r"'clbu'(.|\n)*did you mean 'club'"):
        sample_clip(0, 0, "clbu")
    with pytest.raises(ConfigError, match="club, hall, home"):
        find_venue("stadium")


def test_the_shirt_is_where_the_player_is_said_to_stand(scene):
    """Films that differ in the shirt alone differ around that place, and nowhere far from it."""
    size = np.array(scene.venue.size)
    for played in scene.played:
        other = next(name for name, _ in scene.venue.shirts if name != played.record.shirt)
        changed = (
            (
                played.film(scene.venue)
                != replace(played, record=replace(played.record, shirt=other)).film(scene.venue)
            )
            .any(-1)
            .any(0)
        )
        rows, columns = np.nonzero(changed)
        x, y = played.player(scene.venue).astype(float) * size
        assert abs(np.median(columns) + 0.5 - np.clip(x, 0, size[0])) < 0.05 * size[0]
        assert abs(np.median(rows) + 0.5 - np.clip(y, 0, size[1])) < 0.05 * size[0]
