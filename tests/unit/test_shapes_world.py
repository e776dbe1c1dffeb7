"""The world of shapes: films, truth, questions and its judge."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from vidapt.errors import ConfigError
from vidapt.worlds.asked import normalise
from vidapt.worlds.shapes import (
    QUESTION_TYPES,
    STYLES,
    VENUES,
    Claim,
    Event,
    Record,
    false_statements,
    find_venue,
    judge,
    load_records,
    sample_clip,
    simulate,
)
from vidapt.worlds.shapes.claims import changeable, falsify, holds, inventory, story, true_claims
from vidapt.worlds.shapes.clips import Played, play
from vidapt.worlds.shapes.dataset import FATES, truth_of
from vidapt.worlds.shapes.events import Seen
from vidapt.worlds.shapes.field import COLOURS, FRAMES, KINDS, SIZES, TEXTURES
from vidapt.worlds.shapes.forms import SHAPES, marks

SEED, CLIPS = 11, 100

RECORD = Record(
    2,
    "mix",
    (
        Seen("red", "star", "plain", "large", "roll", (0.8, 0.5)),
        Seen("blue", "ring", "striped", "small", "rest", (0.2, 0.4)),
        Seen("green", "bar", "plain", "middling", "turn", (0.52, 0.9)),
        Seen("white", "disc", "plain", "large", "rest", None),
    ),
    ("red", "blue", "green", "white", "black"),
    (
        Event(0.5, "touch", "red star", "blue ring"),
        Event(0.6, "start", "blue ring"),
        Event(1.5, "bounce", "red star", "near"),
        Event(2.0, "vanish", "white disc"),
    ),
)
TRUE = [
    "the red star touches the blue ring",
    "the blue ring touches the red thing",
    "the blue ring starts to move",
    "the red star bounces off the bottom edge",
    "the white disc vanishes",
    "the red star moves first",
    "the green bar turns on the spot",
    "the green bar stays where it is",
    "the blue ring is striped",
    "the blue ring ends up in the left half",
    "the blue ring ends up to the left of the red star",
    "there is no black star",
    "there are four things",
    "the flower in red meets the tyre in blue",
    "the lid in white sinks",
    "the tyre in blue has a banded coat",
]
FALSE = [
    "the red star touches the green bar",
    "the red star starts to move",
    "the red star bounces off the top edge",
    "the red star leaves to the right",
    "the blue ring moves first",
    "the green bar moves",
    "the blue ring is plain",
    "the blue ring is large",
    "the red star ends up in the left half",
    "the red star ends up to the left of the blue ring",
    "there is no red star",
    "there are five things",
    "nothing moves",
    "nothing touches anything",
]


@pytest.fixture(scope="module", params=VENUES, ids=lambda venue: venue.name)
def played(request: pytest.FixtureRequest) -> list[Played]:
    return play(SEED, range(CLIPS), request.param, 2)


@pytest.mark.parametrize("sentence", TRUE)
def test_a_sentence_that_the_log_bears_out_is_true(sentence: str) -> None:
    verdict = judge(f"{sentence.capitalize()}.", RECORD)
    assert (len(verdict.supported), verdict.false, verdict.unparsed) == (1, (), ())


@pytest.mark.parametrize("sentence", FALSE)
def test_a_sentence_that_the_log_contradicts_is_false(sentence: str) -> None:
    verdict = judge(f"{sentence}.", RECORD)
    assert (verdict.supported, len(verdict.false), verdict.unparsed) == ((), 1, ())


def test_a_touch_is_recalled_whichever_way_it_is_told() -> None:
    verdict = judge("the blue ring touches the red star. a ball rolls.", RECORD)
    assert verdict.recalled == (Claim("touch", "red star", "blue ring"),)
    assert verdict.unparsed == ("a ball rolls",)
    assert len(story(RECORD)) == 4


def test_false_statements_are_false_and_none_is_a_matter_of_opinion() -> None:
    truth, rng = true_claims(RECORD), np.random.default_rng(0)
    for claim in changeable(RECORD):
        assert holds(claim, RECORD, truth)
        wrong = falsify(claim, RECORD, rng)
        if wrong is not None:
            assert not holds(wrong, RECORD, truth)
            # The bar is in the middle, the disc is gone, the star moves all along, and the bar rests.
            assert wrong not in (
                *(Claim("ends", "green bar", side) for side in ("left", "right")),
                *(Claim("ends", "white disc", side) for side in ("left", "right")),
                *(Claim("start", "red star"), Claim("stop", "green bar")),
            )
    for claim in false_statements(RECORD, rng, 10):
        for style in STYLES.values():
            assert judge(f"{claim.say(style)}.", RECORD).false == (claim,)


def test_what_is_told_of_a_clip_is_true_in_every_style(played: list[Played]) -> None:
    for one in played:
        for style in STYLES.values():
            told, listed = (
                judge(" ".join(f"{claim.say(style)}." for claim in tell(one.record)), one.record)
                for tell in (story, inventory)
            )
            assert (told.false, told.unparsed, told.recall) == ((), (), 1.0)
            assert (listed.false, listed.unparsed) == ((), ())
            assert len(listed.supported) == len(inventory(one.record)) >= 3 * len(one.things)
        assert Record.from_json(json.loads(json.dumps(one.to_json()))) == one.record


def test_every_type_is_asked_answered_and_not_given_away(played: list[Played]) -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for one in played:
        for qa in one.asked():
            answers[qa.type][qa.value] += 1
            assert normalise(qa.answer) in qa.accept
            assert "{" not in qa.question + qa.answer
            if qa.type == "true_false":
                said = qa.question.split(": ", 1)[-1].split("? ", 1)[-1]
                verdict = judge(said, one.record)
                assert (len(verdict.supported), len(verdict.false)) == (
                    (1, 0) if qa.value == "yes" else (0, 1)
                )
    assert set(answers) == set(QUESTION_TYPES)
    for kind, counts in answers.items():
        if kind not in ("inventory", "trajectory", "caption", "left"):
            assert max(counts.values()) / sum(counts.values()) < 0.9, kind
    assert answers["true_false"]["yes"] == answers["true_false"]["no"]


def test_a_film_is_the_same_every_time_and_a_thing_is_where_its_track_says(played: list[Played]) -> None:
    looked = 0
    for one in played[:3]:
        film, size = one.film(), np.array(one.venue.size)
        again, record = sample_clip(SEED, one.index, one.venue.name)
        assert (film == again).all()
        assert record == one.record
        assert film.shape == (FRAMES, size[1], size[0], 3)
        for number, thing in enumerate(one.things):
            seen = one.moved.seen.copy()
            seen[:, number] = False
            bare = replace(one, moved=replace(one.moved, seen=seen)).film()
            track = one.tracks()[:, COLOURS.index(thing.colour)].astype(float)
            for frame in (3, 20):
                changed = (film[frame] != bare[frame]).any(-1)
                place = track[frame, 1:]
                if track[frame, 0] and changed.sum() > 30 and (abs(place - 0.5) < 0.4).all():
                    middle = np.array([x.mean() + 0.5 for x in np.nonzero(changed)[::-1]])
                    assert np.hypot(*(middle - place * size)) < 0.08 * size[0]
                    looked += 1
    assert looked > 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_shape_and_texture_shows_at_the_size_that_models_see(kind: str) -> None:
    """At a middling thing's radius of 8 pixels of 128 by 72."""
    y, x = np.mgrid[-1.4:1.4:23j, -1.4:1.4:23j]
    inside = SHAPES[kind](x, y) <= 0
    for other in KINDS:
        if other != kind:
            assert (inside ^ (SHAPES[other](x, y) <= 0)).sum() >= 20, other
    for texture in TEXTURES:
        mark = marks(kind, texture)
        if mark is not None and not (
            texture == "rimmed" and kind in ("ring", "cross", "bar", "corner", "moon")
        ):
            shown = mark(x, y) <= 0
            assert not (shown & ~inside).any()
            assert 0.06 < shown.sum() / inside.sum() < 0.94, texture


def test_truth_says_in_numbers_what_the_record_says_in_words(played: list[Played]) -> None:
    truth = truth_of(played)
    fates = Counter()
    for i, one in enumerate(played):
        slots = {COLOURS.index(thing.colour): thing for thing in one.record.things}
        assert set(np.flatnonzero(truth["fate"][i] >= 0)) == set(slots)
        for slot, thing in slots.items():
            assert KINDS[truth["kind"][i, slot]] == thing.kind
            assert list(SIZES)[truth["size"][i, slot]] == thing.size
            assert TEXTURES[truth["texture"][i, slot]] == thing.texture
            assert truth["first"][i, slot, 0] == (thing.name == one.record.first_mover)
            fates[FATES[truth["fate"][i, slot] + 1]] += 1
        found = {
            frozenset((slots[a].name, slots[b].name)) for a, b in np.argwhere(truth["touches"][i]).tolist()
        }
        assert found == one.record.touches
    assert set(fates) == set(FATES) - {"absent"}


def test_a_data_set_is_the_same_with_two_workers_and_longer_later(tmp_path) -> None:
    simulate(tmp_path / "one", clips=3, venue="pond", seed=4, workers=1)
    simulate(tmp_path / "two", clips=1, venue="pond", seed=4, workers=1)
    simulate(tmp_path / "two", clips=3, venue="pond", seed=4, workers=2)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("one", "two"))
    assert one == two
    assert len(load_records(tmp_path / "one" / "events.jsonl")) == 3


def test_an_unknown_venue_is_refused_and_the_nearest_name_offered() -> None:
    with pytest.raises(ConfigError, match=r"'pnd'(.|\n)*did you mean 'pond'"):
        find_venue("pnd")
