"""How agreement of answers behaves, whatever they say; and what is read of answers that are no answers."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.json_replies import UnreadableError, parsed
from vidapt.teaching.agree import agreement, alike, borne_out, central, merged, numbered, overlap
from vidapt.teaching.shapes import FactsAnswer, QuestionsAnswer, Stated, WrittenAnswer

WORDS = st.sampled_from(["red", "blue", "ball", "two", "hits", "not", "rolls", "left", "one", "pocket"])
SENTENCE = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
ANSWER = st.lists(SENTENCE, max_size=5)
STATED = st.builds(
    Stated, subject=SENTENCE, predicate=SENTENCE, start_s=st.floats(0, 9), end_s=st.floats(0, 9)
)


@given(one=ANSWER, other=ANSWER)
def test_overlap_is_a_share_and_the_same_both_ways(one: list[str], other: list[str]) -> None:
    found = overlap(one, other, alike)
    assert 0 <= found <= 1
    assert found == overlap(other, one, alike)
    assert overlap(one, one, alike) == 1


@given(answers=st.lists(ANSWER, max_size=4))
def test_agreement_is_one_for_equal_answers_and_none_for_a_single_one(answers: list[list[str]]) -> None:
    found = agreement(answers, alike)
    assert (found is None) == (len(answers) < 2)
    assert agreement([answers, answers], lambda one, other: one == other) == 1


@given(one=SENTENCE, other=SENTENCE)
def test_other_numbers_or_a_denial_make_another_statement(one: str, other: str) -> None:
    assert not alike(f"{one} 3", f"{one} 4", 0.0)
    assert alike(one, one)
    if ("not" in one.split()) != ("not" in other.split()):
        assert not alike(one, other, 0.0)


def test_examples() -> None:
    assert alike("The red ball hits the blue ball.", "the red ball hits the blue one")
    assert not alike("The red ball hits two balls.", "The red ball hits three balls.")
    assert not alike("The red ball is pocketed.", "The red ball is not pocketed.")
    assert central(["It rains.", "A red ball rolls left.", "The red ball rolls left."])[0] == 1


@given(voices=st.lists(st.lists(STATED, max_size=5), min_size=1, max_size=4))
def test_merging_loses_no_fact_and_counts_each_voice_once(voices: list[list[Stated]]) -> None:
    facts = merged([(f"t{at}", stated) for at, stated in enumerate(voices)], "seen", 0.6)
    assert bool(facts) == any(voices)
    assert all(1 <= fact.votes <= fact.of == len(voices) for fact in facts)
    assert sum(fact.votes for fact in facts) <= sum(map(len, voices))
    names = [fact.id for fact in numbered(facts)]
    assert names == [f"f{number}" for number in range(1, len(facts) + 1)]
    assert all(0 <= borne_out(fact.stated.words, [fact]) <= 1 for fact in facts)
    assert all(borne_out(fact.stated.words, [fact]) == 1 for fact in facts)


KEYS = st.sampled_from(["facts", "clauses", "questions", "subject", "text", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["facts", "clauses", "questions", "subject", "text", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(value=JSON, around=st.text(max_size=6), text=st.text(max_size=40))
def test_whatever_is_answered_is_read_or_refused_in_words(value: object, around: str, text: str) -> None:
    for answer in (text, around + json.dumps(value) + around, "```json\n" + json.dumps(value)):
        for shape in (FactsAnswer, WrittenAnswer, QuestionsAnswer):
            with contextlib.suppress(UnreadableError):
                assert isinstance(parsed(answer, shape), shape)
