from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.worlds.conveyor import STYLES, Claim, Event, Record, judge, parse
from vidapt.worlds.conveyor.claims import holds, story, true_claims
from vidapt.worlds.conveyor.events import OF_BELTS, Running, Seen
from vidapt.worlds.conveyor.language import CLAIMS
from vidapt.worlds.conveyor.line import BELTS, COLOURS, DEFECTS, FRAMES, KINDS, SIZES, SOUND, belt_names
from vidapt.worlds.conveyor.questions import summary

styles = st.sampled_from(list(STYLES.values()))
names = st.builds("{} {}".format, st.sampled_from(COLOURS), st.sampled_from(KINDS))
VALUES = {
    "": st.just(""),
    "thing": names,
    "belt": st.sampled_from(BELTS),
    "way": st.sampled_from(["left", "right"]),
    "size": st.sampled_from(list(SIZES)),
    "defect": st.sampled_from(DEFECTS),
    "number": st.integers(0, 8).map(str),
}
claims = st.sampled_from(sorted(CLAIMS)).flatmap(
    lambda kind: st.builds(Claim, st.just(kind), *(VALUES[noun] for noun in CLAIMS[kind]))
)


def said(claims: list[Claim], style) -> str:
    return " ".join(f"{claim.say(style)}." for claim in claims)


@st.composite
def records(draw) -> Record:
    """Any log, whether or not a real line could give it."""
    belts = belt_names(draw(st.integers(1, 3)))
    running = tuple(Running(name, draw(VALUES["way"]), 0.2 + 0.1 * k) for k, name in enumerate(belts))
    colours = draw(st.lists(st.sampled_from(COLOURS), min_size=1, unique=True))
    defects = st.sampled_from((SOUND, *DEFECTS))
    parts = tuple(
        Seen(
            colour,
            draw(st.sampled_from(KINDS)),
            draw(VALUES["size"]),
            draw(defects),
            draw(st.sampled_from(belts)),
        )
        for colour in colours
    )
    events = []
    for time in sorted(draw(st.lists(st.integers(0, (FRAMES - 1) * 100), max_size=8))):
        kind = draw(
            st.sampled_from(sorted({"enter", "leave", "hold", "fall", "push", "pick", "touch", *OF_BELTS}))
        )
        part, other = (draw(st.sampled_from(parts)).name for _ in range(2))
        subject = draw(st.sampled_from(belts)) if kind in OF_BELTS else part
        where = "" if kind in OF_BELTS else other if kind == "touch" else draw(st.sampled_from(belts))
        events.append(Event(time / 1000, kind, subject, where))
    return Record(3, "works", running, parts, COLOURS, tuple(events))


@given(claim=claims, style=styles)
@settings(max_examples=400, deadline=None)
def test_a_claim_that_is_said_is_understood_as_itself(claim, style):
    assert parse(f"{claim.say(style)}.") == ([claim], [])


@given(
    told=st.lists(st.tuples(claims, styles), max_size=6), joint=st.sampled_from([". ", "; ", "! And then "])
)
@settings(max_examples=100, deadline=None)
def test_a_text_of_many_styles_is_understood_sentence_by_sentence(told, joint):
    text = joint.join(claim.say(style).capitalize() for claim, style in told)
    assert parse(text) == ([claim for claim, _ in told], [])


@given(text=st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_at_all_is_judged_without_complaint(text):
    found, unparsed = parse(text)
    assert len(found) + len(unparsed) <= len(text)


@given(record=records(), style=styles)
@settings(max_examples=120, deadline=None)
def test_whatever_the_log_what_is_told_of_it_is_true_and_complete(record, style):
    verdict = judge(said(story(record), style), record)
    assert (verdict.false, verdict.unparsed, verdict.recall, verdict.precision) == ((), (), 1.0, 1.0)
    caption = judge(said(summary(record), style), record)
    assert (caption.false, caption.unparsed) == ((), ())


@given(record=records())
@settings(max_examples=120, deadline=None)
def test_no_two_true_claims_deny_each_other(record):
    truth = true_claims(record)
    assert set(story(record)) <= truth
    for part in record.parts:
        assert not holds(Claim("absent", part.name), record, truth)
        assert (Claim("sound", part.name) in truth) != any(
            Claim("flaw", part.name, d) in truth for d in DEFECTS
        )
        assert sum(Claim("size", part.name, size) in truth for size in SIZES) == 1
    for kind, event in (("no_touch", "touch"), ("no_fall", "fall"), ("no_stop", "stop")):
        assert (Claim(kind) in truth) != any(claim.kind == event for claim in truth)
    if Claim("quiet") in truth:
        assert {Claim("no_touch"), Claim("no_fall"), Claim("no_stop"), Claim("idle")} <= truth


@given(record=records())
@settings(max_examples=80, deadline=None)
def test_any_record_is_read_back_as_it_was_written(record):
    assert Record.from_json(record.to_json()) == record
