"""Every answer is worked out again here, plainly, from the rows that `events.jsonl` holds."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from vidapt.metrics.match import is_match
from vidapt.worlds.asked import normalise
from vidapt.worlds.billiards import QUESTION_TYPES, STYLES, VENUES, false_statements
from vidapt.worlds.billiards.clips import play
from vidapt.worlds.billiards.language import NUMBERS, Style
from vidapt.worlds.billiards.questions import ask
from vidapt.worlds.billiards.table import POCKETS, SIDES

CLIPS = 112
SEED = 21


class Clip:
    """One clip's questions, and what its log says."""

    def __init__(self, played, venue) -> None:
        self.record, self.style, self.venue = played.record, STYLES[venue.style], venue
        self.questions = played.questions(venue)
        self.row = played.record.to_json()
        self.events = self.row["events"]
        self.hits = [(e["ball"], e["other"]) for e in self.events if e["event"] == "hit"]
        self.cushions = [(e["ball"], e["other"]) for e in self.events if e["event"] == "cushion"]
        self.pockets = {e["ball"]: e["other"] for e in self.events if e["event"] == "pocket"}
        self.sunk = {ball: at for ball, at in self.pockets.items() if ball != "white"}

    def of(self, kind: str):
        return [qa for qa in self.questions if qa.type == kind]

    def one(self, kind: str):
        (qa,) = self.of(kind)
        return qa

    @property
    def first_hit(self) -> str | None:
        return next((other for ball, other in self.hits if ball == "white"), None)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    # Shots depend on the number alone, so every venue takes numbers of its own.
    numbers = [range(i * CLIPS, (i + 1) * CLIPS) for i in range(len(VENUES))]
    return [
        Clip(played, venue)
        for venue, n in zip(VENUES, numbers, strict=True)
        for played in play(SEED, n, venue)
    ]


@pytest.fixture(scope="module")
def asked(clips):
    return [(clip, qa) for clip in clips for qa in clip.questions]


def heard(style: Style, text: str) -> tuple[str, str, str]:
    """Kind, subject and object of a statement in the venue's own words, found by saying everything."""
    (found,) = {said for said, sentence in everything(style) if sentence == text}
    return found


def everything(style: Style):
    balls = ("white", *sorted({ball for venue in VENUES for ball in venue.ball_set}))
    for a in balls:
        yield ("pocketed", a, ""), style.sentence("pocketed", a)
        for kind, others in (("hits", balls), ("cushion", SIDES), ("pocket", POCKETS)):
            for other in others:
                yield (kind, a, other), style.sentence(kind, a, other)
        yield ("first_hit", "white", a), style.sentence("first_hit", "", a)


def happened(clip: Clip, kind: str, a: str, b: str) -> bool:
    return {
        "hits": (a, b) in clip.hits or (b, a) in clip.hits,
        "first_hit": b == clip.first_hit,
        "cushion": (a, b) in clip.cushions,
        "pocket": clip.pockets.get(a) == b,
        "pocketed": a in clip.pockets,
    }[kind]


def broken(clip: Clip) -> bool:
    return clip.row["kind"] == "break" and clip.first_hit is not None


def quoted(clip: Clip, question: str) -> str:
    """The statement that a question holds, taken out of the style's wording."""
    forms = [re.escape(form).replace(r"\{s\}", "(.+)") for form in clip.style.questions["true_false"]]
    return next(match[1] for form in forms if (match := re.fullmatch(form, question)))


def ball_in(clip: Clip, kind: str, question: str) -> str:
    """The colour that a question asks about."""
    forms = [re.escape(form).replace(r"\{c\}", "([a-z]+)") for form in clip.style.questions[kind]]
    return next(match[1] for form in forms if (match := re.fullmatch(form, question)))


def test_every_answer_is_among_its_accepted_ones_and_counts_as_right(asked):
    for _, qa in asked:
        assert normalise(qa.answer) in qa.accept
        assert is_match(qa.answer, qa.accept)


def test_accepted_answers_are_normalised_and_told_once(asked):
    for _, qa in asked:
        assert all(normalise(answer) == answer != "" for answer in qa.accept)
        assert len(set(qa.accept)) == len(qa.accept)


def test_no_answer_is_accepted_for_two_values_of_one_question(asked):
    meaning: dict[tuple[str, str], set[str]] = {}
    for _, qa in asked:
        if qa.type in ("trajectory", "caption"):
            continue
        for answer in qa.accept:
            # Which ball was absent or stayed is in the answer, and so in what it means.
            meaning.setdefault((qa.type, answer), set()).add(qa.value)
    assert {key: values for key, values in meaning.items() if len(values) > 1} == {}


def test_another_styles_wording_of_the_same_answer_is_accepted(clips):
    for clip in clips:
        for style in STYLES.values():
            assert normalise(style.answers["break:" + clip.one("break").value]) in clip.one("break").accept
            count = style.answers["count"].format(w=NUMBERS[len(clip.row["balls"])])
            assert is_match(count, clip.one("count").accept)


def test_every_question_type_is_asked_and_the_order_is_that_of_the_list(clips):
    asked_types = {qa.type for clip in clips for qa in clip.questions}
    assert asked_types == set(QUESTION_TYPES)
    for clip in clips:
        order = [QUESTION_TYPES.index(qa.type) for qa in clip.questions]
        assert order == sorted(order)


def test_a_type_is_missing_only_where_the_clip_gives_no_ground_for_it(clips):
    may_be_missing = {
        "which_pocket": lambda clip: not clip.sunk,
        "first_hit": broken,
        "exists": lambda clip: set(clip.row["balls"]) == set(clip.row["ball_set"]),
        "true_false": lambda clip: not (clip.pockets if broken(clip) else clip.events),
        "false_premise": lambda clip: set(clip.row["ball_set"]) == set(clip.sunk),
    }
    for clip in clips:
        for kind in QUESTION_TYPES:
            missing = may_be_missing.get(kind, lambda _: False)(clip)
            assert bool(clip.of(kind)) != missing, (kind, clip.row)


def test_every_wording_is_used_and_no_slot_is_left_open(clips, asked):
    for _, qa in asked:
        assert "{" not in qa.question + qa.answer
        assert "  " not in qa.question + qa.answer
    for style in STYLES.values():
        here = [qa for clip in clips if clip.style is style for qa in clip.questions]
        for kind in QUESTION_TYPES:
            for wording in style.questions.get(kind, ()):
                form = re.sub(r"\\\{\w\\\}", ".+", re.escape(wording))
                assert any(re.fullmatch(form, qa.question) for qa in here), (style.name, kind, wording)


def test_break_and_counts_follow_the_log(clips):
    for clip in clips:
        assert clip.one("break").value == ("yes" if broken(clip) else "no")
        assert clip.one("count").value == str(len(clip.row["balls"]))
        assert clip.one("number_pocketed").value == str(len(clip.sunk))
        assert clip.one("shirt").value == clip.row["shirt"]


def test_pocketed_colours_are_those_of_the_log_and_each_is_named_in_the_answer(clips):
    for clip in clips:
        qa = clip.one("pocket_colour")
        assert qa.value == (",".join(sorted(clip.sunk)) or "none")
        words = normalise(qa.answer).split()
        assert {ball for ball in clip.row["ball_set"] if ball in words} == set(clip.sunk)


def test_which_pocket_is_asked_of_pocketed_balls_alone_and_answered_by_the_log(clips):
    for clip in clips:
        questions = clip.of("which_pocket")
        balls = [ball_in(clip, "which_pocket", qa.question) for qa in questions]
        assert len(set(balls)) == len(balls) == min(2, len(clip.sunk))
        for ball, qa in zip(balls, questions, strict=True):
            assert qa.value == clip.sunk[ball]
            assert clip.style.pockets[qa.value] in qa.answer


def test_first_hit_and_what_the_white_ball_did_follow_the_log(clips):
    for clip in clips:
        for qa in clip.of("first_hit"):
            assert qa.value == (clip.first_hit or "none")
        touched = [e["event"] for e in clip.events if e["ball"] == "white" and e["event"] != "pocket"]
        assert clip.one("cushion_first").value == ("yes" if touched[:1] == ["cushion"] else "no")
        assert clip.one("scratch").value == ("yes" if "white" in clip.pockets else "no")


def test_exists_asks_of_one_ball_that_is_there_and_one_that_is_not(clips):
    for clip in clips:
        for qa in clip.of("exists"):
            ball = ball_in(clip, "exists", qa.question)
            assert ball in clip.row["ball_set"]
            assert qa.value == ("yes" if ball in clip.row["balls"] else "no")


def test_a_false_premise_is_false_and_the_answer_says_why(clips):
    for clip in clips:
        for qa in clip.of("false_premise"):
            ball = ball_in(clip, "which_pocket", qa.question)
            assert ball in clip.row["ball_set"]
            assert ball not in clip.sunk
            assert qa.value == ("not pocketed" if ball in clip.row["balls"] else "absent")
            assert re.search(rf"\b{ball}\b", qa.answer)


def test_statements_said_to_be_true_happened_and_those_said_to_be_false_did_not(clips):
    kinds: Counter[tuple[str, str]] = Counter()
    for clip in clips:
        for qa in clip.of("true_false"):
            kind, a, b = heard(clip.style, quoted(clip, qa.question))
            assert qa.value == ("yes" if happened(clip, kind, a, b) else "no"), qa
            kinds[kind, qa.value] += 1
    assert all(kinds[kind, value] >= 8 for kind in ("hits", "cushion", "pocket") for value in ("yes", "no"))
    assert all(kinds[kind, value] >= 8 for kind in ("first_hit", "pocketed") for value in ("yes", "no"))


def test_more_statements_begin_with_the_same_ones_and_stay_in_pairs(clips):
    more = 0
    for clip in clips:
        asked = [
            [
                qa
                for qa in ask(clip.record, clip.style, np.random.default_rng(4), statements)
                if qa.type == "true_false"
            ]
            for statements in (1, 3)
        ]
        assert asked[1][: len(asked[0])] == asked[0]
        assert len(asked[1]) <= 6
        assert [qa.value for qa in asked[1]] == ["yes", "no"] * (len(asked[1]) // 2)
        more += len(asked[1]) > len(asked[0])
        for qa in asked[1]:
            kind, a, b = heard(clip.style, quoted(clip, qa.question))
            assert qa.value == ("yes" if happened(clip, kind, a, b) else "no"), qa
    assert more > len(clips) / 2


def test_a_false_statement_differs_from_its_true_twin_in_one_word_and_stays_plausible(clips):
    strangers = total = 0
    for clip in clips:
        if not clip.of("true_false"):
            continue
        true, false = (heard(clip.style, quoted(clip, qa.question)) for qa in clip.of("true_false"))
        assert true[0] == false[0]
        assert sum(x != y for x, y in zip(true, false, strict=True)) == 1
        assert false[1] != false[2]
        balls = {word for word in false[1:] if word in clip.row["ball_set"]}
        assert all(word in (*POCKETS, *SIDES, "white", "", *clip.row["ball_set"]) for word in false[1:])
        strangers += bool(balls - set(clip.row["balls"]))
        total += 1
    # A ball that is not on the table is named only where no other word makes the statement false.
    assert strangers < 0.1 * total


def test_yes_and_no_are_balanced_where_the_writer_chooses(clips):
    assert len(clips) > 300
    for kind in ("exists", "true_false"):
        values = Counter(qa.value for clip in clips for qa in clip.of(kind))
        assert values["yes"] == values["no"] > 200
    premises = Counter(qa.value for clip in clips for qa in clip.of("false_premise"))
    assert 0.4 < premises["absent"] / premises.total() < 0.6


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("break", 0.9),
        ("count", 0.3),
        ("pocket_colour", 0.5),
        ("number_pocketed", 0.65),
        ("which_pocket", 0.35),
        ("first_hit", 0.3),
        ("cushion_first", 0.88),
        ("scratch", 0.88),
        ("shirt", 0.3),
    ],
)
def test_no_answer_is_so_common_that_guessing_it_would_do(clips, kind, most):
    values = Counter(qa.value for clip in clips for qa in clip.of(kind))
    assert max(values.values()) / values.total() < most


def test_false_statements_never_happened_are_distinct_and_need_no_more_than_asked(clips):
    made = 0
    for clip in clips:
        claims = false_statements(clip.record, np.random.default_rng(clip.record.index), 5)
        assert len(set(claims)) == len(claims) <= 5
        made += len(claims)
        for claim in claims:
            assert not happened(clip, claim.kind, claim.subject, claim.where)
    assert made > 4 * len(clips)


def test_a_trajectory_tells_the_pocketings_and_at_most_six_things(clips):
    for clip in clips:
        sentences = [s.strip() for s in clip.one("trajectory").answer.split(".") if s.strip()]
        assert 1 <= len(sentences) <= 6
        for ball, at in clip.pockets.items():
            assert clip.style.sentence("pocket", ball, at) in sentences


def test_a_trajectory_keeps_the_order_of_the_log(clips):
    for clip in clips:
        if clip.row["kind"] == "break" or not clip.events:
            continue
        told = [
            heard(clip.style, sentence.strip())
            for sentence in clip.one("trajectory").answer.split(".")
            if sentence.strip()
        ]
        kinds = {"hit": "hits", "cushion": "cushion", "pocket": "pocket"}
        log = [(kinds[e["event"]], e["ball"], e["other"]) for e in clip.events]
        assert [log.index(claim) for claim in told] == sorted(log.index(claim) for claim in told)


def test_a_caption_names_the_opening_the_pocketings_and_a_scratch(clips):
    for clip in clips:
        text, style = clip.one("caption").answer, clip.style
        assert (style.sentences["break"] in text) == broken(clip)
        if not broken(clip) and clip.first_hit:
            assert style.sentence("first_hit", "", clip.first_hit) in text
        assert (style.sentences["none_pocketed"] in text) == (not clip.sunk)
        assert (style.sentences["scratch"] in text) == ("white" in clip.pockets)
        for ball, at in list(clip.sunk.items())[:3]:
            assert style.sentence("pocket", ball, at) in text


def test_a_style_changes_words_and_never_facts():
    home = {venue.name: play(SEED, range(12), venue) for venue in VENUES}
    for one, other in zip(home["home"], home["hall"], strict=True):
        facts = [
            [(qa.type, qa.value) for qa in played.questions(venue)]
            for played, venue in ((one, VENUES[0]), (other, VENUES[2]))
        ]
        assert facts[0] == facts[1]
        assert one.questions(VENUES[0])[0].question != other.questions(VENUES[2])[0].question
