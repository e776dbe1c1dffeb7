"""False copies of texts: one fact changed and nothing else; of a world's statements: false by its log."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.errors import ConfigError
from vidapt.labelling.facts import LENGTH, all_pairs, exact_pairs, short_and_long
from vidapt.labelling.falsify import Change, changes, falsify
from vidapt.labelling.lexicon import Lexicon, read_lexicon
from vidapt.worlds import billiards
from vidapt.worlds.billiards import STYLES, VENUES, Record, judge
from vidapt.worlds.billiards.clips import play

WORDS = [
    "the", "a", "red", "Blue", "an orange", "GREEN", "ball", "left", "right", "top", "hits", "misses", "two",
    "3", "10", "first", "before", "is not", "and", "in front of", "white ball", "left over", "grey", "gray",
    "ca\u00f1on", "2.5", "8-ball", ".", ",", "!", "\n", "none", "three times",
]  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> str:
    return " ".join(draw(st.lists(st.sampled_from(WORDS), max_size=12)))


def undone(change: Change) -> str:
    return change.text[: change.at] + change.was + change.text[change.at + len(change.now) :]


def plain(text: str) -> str:
    """Without the difference of `a` and `an`."""
    return " ".join("a" if word.lower() == "an" else word for word in text.split(" ")).lower()


@given(texts())
def test_exactly_one_term_is_changed_to_one_that_excludes_it(text: str) -> None:
    lexicon = read_lexicon()
    for change in changes(text, lexicon):
        assert change.text != text
        assert change.text[change.at : change.at + len(change.now)] == change.now
        assert plain(undone(change)) == plain(text)
        fact, others = lexicon.others[" ".join(change.was.lower().split())]
        assert fact == change.fact
        assert change.now.lower() in {spelling for other in others for spelling in other.split("|")}
        assert change.now.lower() not in plain(text).split()


@given(texts(), st.integers(0, 3), st.integers(1, 5))
def test_a_seed_repeats_and_more_begins_as_fewer(text: str, seed: int, count: int) -> None:
    some = falsify(text, seed=seed, count=count)
    assert some == falsify(text, seed=seed, count=count + 3)[:count]
    assert len({change.text for change in some}) == len(some)


def test_seeds_choose_differently() -> None:
    text = "the red ball hits two blue balls on the left."
    assert len({falsify(text, seed=seed)[0].text for seed in range(20)}) > 5


def test_types_of_facts_take_turns() -> None:
    text = "a red, a green, a blue and a black ball roll to the left before three others."
    assert [change.fact for change in falsify(text, count=4)].count("colour") == 1
    assert {change.fact for change in falsify(text, count=40, facts=["side"])} == {"side"}


@pytest.mark.parametrize(
    "text",
    [
        "the ball is not red.",
        "the ball isn't red.",
        "no red ball is there",
        "it is red or blue",
        "the 8-ball costs 2.5 at 3:15",
        "he left the room right away",
        "the white ball rolls",
        "red's",
        "",
        "nothing here",
    ],
)
def test_what_a_rule_cannot_make_false_is_left_alone(text: str) -> None:
    assert falsify(text, count=99) == []


def test_only_the_guarded_sentence_is_left_alone() -> None:
    found = falsify("It is not red. A blue car turns left.", count=99)
    assert {change.was for change in found} == {"blue", "left"}
    assert "red" not in {change.now for change in found}


def test_capitals_and_articles_follow() -> None:
    by_now = {change.now: change.text for change in falsify("A Red ball", count=99)}
    assert by_now["Orange"] == "An Orange ball"
    assert by_now["Green"] == "A Green ball"
    assert "an BLUE" not in " ".join(c.text for c in falsify("an ORANGE car", count=99))
    assert falsify("A grey cat", count=99, facts=["colour"])[0].now not in ("gray", "grey")
    assert falsify("They stand in  front of it.", count=9)[0].text == "They stand behind it."


def test_a_misspelt_fact_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'colour'"):
        falsify("red", facts=["color"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("facts: {side: [[left]]}", "two terms"),
        ("facts: {side: [[left, right], [Left, gone]]}", "'Left' is a side and a side"),
        ("facts: {side: [[left, right]]}\nunless: [no, not]", r"line 2: unless.0: .*found False"),
        ("facts: {}", "facts"),
        ("facts: {a: [[x, ' ']]}", "empty"),
        ("fact: {}", "did you mean 'facts'"),
    ],
)
def test_a_lexicon_of_ones_own_is_checked(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_lexicon(path)


def test_a_lexicon_of_ones_own_is_used(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("facts: {pot: [[drops, rattles out]]}", encoding="utf-8")
    (change,) = falsify("It DROPS.", read_lexicon(path), count=9)
    assert change == Change("It RATTLES OUT.", "pot", "DROPS", "RATTLES OUT", 3)
    assert falsify("not red, drops", Lexicon(facts={"c": [["red", "blue"]]}))[0].text == "not blue, drops"


@pytest.fixture(scope="module", params=sorted(venue.name for venue in VENUES))
def records(request: pytest.FixtureRequest) -> list[Record]:
    venue = next(venue for venue in VENUES if venue.name == request.param)
    return [shot.record for shot in play(7, range(40), venue)]


def styled(record: Record) -> str:
    return next(venue.style for venue in VENUES if venue.name == record.venue)


def test_a_worlds_pairs_are_right_by_its_log(records: list[Record]) -> None:
    kinds = set()
    for record in records:
        style = STYLES[styled(record)]
        pairs = list(all_pairs(billiards, record, style, seed=1))
        assert pairs == list(all_pairs(billiards, record, style, seed=1))
        for pair in pairs:
            kinds.add(pair.kind)
            true, false = judge(pair.true, record), judge(pair.false, record)
            assert (len(true.supported), true.false, true.unparsed) == (1, (), ())
            assert (len(false.false), false.unparsed) == (1, ())
            if pair.kind == LENGTH:
                assert len(false.supported) >= 1
                assert len(pair.false.split()) > len(pair.true.split())
    assert kinds == {"colour", "pocket", "side", "order", LENGTH}


def test_pairs_are_as_many_as_asked_and_none_where_nothing_happened(records: list[Record]) -> None:
    style = STYLES[styled(records[0])]
    assert all(len(exact_pairs(billiards, record, style, count=2)) <= 2 for record in records)
    idle = Record(0, records[0].venue, "pot", ("red",), ("red", "blue"), "red", ())
    assert exact_pairs(billiards, idle, style) == []
    assert short_and_long(billiards, idle, style) is None
