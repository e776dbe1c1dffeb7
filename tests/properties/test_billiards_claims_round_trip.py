from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.worlds.asked import normalise
from vidapt.worlds.billiards import STYLES, VENUES, Claim, Event, Record, judge, parse
from vidapt.worlds.billiards.claims import story, true_claims
from vidapt.worlds.billiards.questions import summarise, tell
from vidapt.worlds.billiards.table import FRAMES, POCKETS, SIDES

COLOURS = sorted({ball for venue in VENUES for ball in venue.ball_set})
BALLS = ["white", *COLOURS]
BARE = ["break", "no_break", "no_hit", "cushion_first", "none_pocketed", "scratch", "untouched"]

styles = st.sampled_from(sorted(STYLES.values(), key=lambda style: style.name))
balls, colours = st.sampled_from(BALLS), st.sampled_from(COLOURS)
claims = st.one_of(
    st.builds(Claim, st.sampled_from(BARE)),
    st.builds(Claim, st.just("hits"), balls, balls),
    st.builds(Claim, st.just("first_hit"), st.just("white"), balls),
    st.builds(Claim, st.just("cushion"), balls, st.sampled_from(SIDES)),
    st.builds(Claim, st.just("pocket"), balls, st.sampled_from(POCKETS)),
    st.builds(Claim, st.sampled_from(["pocketed", "not_pocketed"]), balls),
    st.builds(Claim, st.just("absent"), colours),
)


@st.composite
def records(draw) -> Record:
    """Any log, whether or not a real shot could give it; what fell into a pocket does nothing more."""
    venue = draw(st.sampled_from(VENUES))
    on_table = draw(st.lists(st.sampled_from(venue.ball_set), min_size=1, unique=True))
    times = sorted(draw(st.lists(st.integers(0, (FRAMES - 1) * 100), max_size=9)))
    left, events = ["white", *on_table], []
    for time in times:
        kind = draw(st.sampled_from(["hit", "cushion", "pocket"]))
        if len(left) < 2:
            break
        ball = draw(st.sampled_from(left))
        others = {"cushion": list(SIDES), "pocket": list(POCKETS), "hit": [b for b in left[1:] if b != ball]}
        if not others[kind]:
            continue
        events.append(Event(time / 1000, kind, ball, draw(st.sampled_from(others[kind]))))
        if kind == "pocket":
            left.remove(ball)
    kind = draw(st.sampled_from(["break", "pot"]))
    return Record(3, venue.name, kind, tuple(on_table), venue.ball_set, "red", tuple(events))


def test_every_kind_of_sentence_is_drawn_here():
    kinds = {*BARE, "hits", "first_hit", "cushion", "pocket", "pocketed", "not_pocketed", "absent"}
    for style in STYLES.values():
        assert set(style.sentences) == kinds


@given(claim=claims, style=styles)
@settings(max_examples=300, deadline=None)
def test_a_claim_that_is_said_is_understood_as_itself(claim, style):
    assert parse(f"{claim.say(style)}.") == ([claim], [])


@given(
    said=st.lists(st.tuples(claims, styles), max_size=6), joint=st.sampled_from([". ", "; ", "! And then "])
)
@settings(max_examples=100, deadline=None)
def test_a_text_of_many_styles_is_understood_sentence_by_sentence(said, joint):
    text = joint.join(claim.say(style).capitalize() for claim, style in said)
    assert parse(text) == ([claim for claim, _ in said], [])


@given(
    said=st.lists(st.tuples(balls, st.sampled_from(POCKETS)), min_size=1, max_size=3),
    style=styles,
)
@settings(max_examples=100, deadline=None)
def test_pocketings_joined_by_and_are_told_apart(said, style):
    told = [Claim("pocket", ball, pocket) for ball, pocket in said]
    assert parse(" and ".join(claim.say(style) for claim in told)) == (told, [])


@given(text=st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_at_all_is_judged_without_complaint(text):
    found, unparsed = parse(text)
    assert len(found) + len(unparsed) <= len(text)
    assert normalise(normalise(text)) == normalise(text)


@given(record=records(), style=styles)
@settings(max_examples=150, deadline=None)
def test_whatever_the_log_what_is_told_of_it_is_true_and_complete(record, style):
    verdict = judge(tell(record, style), record)
    assert (verdict.false, verdict.unparsed, verdict.recall, verdict.precision) == ((), (), 1.0, 1.0)
    caption = judge(summarise(record, style), record)
    assert (caption.false, caption.unparsed) == ((), ())


@given(record=records())
@settings(max_examples=150, deadline=None)
def test_no_two_true_claims_deny_each_other(record):
    truth = true_claims(record)
    assert (Claim("break") in truth) != (Claim("no_break") in truth)
    assert (Claim("scratch") in truth) != (Claim("not_pocketed", "white") in truth)
    assert (Claim("no_hit") in truth) != any(claim.kind == "first_hit" for claim in truth)
    for ball in COLOURS:
        verdicts = [Claim(kind, ball) in truth for kind in ("pocketed", "not_pocketed", "absent")]
        assert verdicts.count(True) == 1
    coloured = {claim.subject for claim in truth if claim.kind == "pocketed"} - {"white"}
    assert (Claim("none_pocketed") in truth) == (not coloured)
    assert set(story(record)) <= truth


@given(record=records())
@settings(max_examples=100, deadline=None)
def test_any_record_is_read_back_as_it_was_written(record):
    assert Record.from_json(record.to_json()) == record
