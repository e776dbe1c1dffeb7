"""What questions ask where labels do not say, and which answers are texts of their own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vidapt.metrics.question_types import OTHER, QuestionTypes, question_types
from vidapt.nouns import Clip, Sample, Turn

CLIP = Clip("0", Path("0.mp4"))


def said(question: str, answer: str = "yes", **facts: Any) -> Sample:
    return Sample("", (CLIP,), (Turn("user", question), Turn("assistant", answer)), facts=facts)


def kinds(*questions: str) -> list[str]:
    samples = [said(question) for question in questions]
    types = question_types(samples)
    return [types.of(sample) for sample in samples]


def test_equal_questions_are_one_type_however_they_are_written() -> None:
    assert kinds("<video>\nHow many balls?", "how many  balls") == ["how many balls"] * 2


def test_questions_that_are_equal_but_for_a_slot_are_one_type() -> None:
    found = kinds("Is the red ball pocketed?", "Is the dark blue ball pocketed?", "is the 8 ball pocketed")
    assert found == ["is the … ball pocketed"] * 3


def test_the_slot_that_most_questions_share_names_them() -> None:
    found = kinds(
        "what does the red ball hit first",
        "what does the blue ball hit first",
        "what does the blue ball hit last",
        "what does the green ball hit first",
    )
    assert found[0] == found[1] == found[3] == "what does the … ball hit first"


def test_a_question_like_no_other_is_among_the_others() -> None:
    assert kinds("who is the player", "how many balls are left", "is it raining")[0] == OTHER


def test_a_short_question_is_not_all_slot() -> None:
    assert kinds("why", "who") == [OTHER, OTHER]


def test_a_label_that_names_its_type_keeps_it() -> None:
    samples = [said("a red one?", type="colour"), said("a blue one?", type="colour"), said("a green one?")]
    types = question_types(samples)
    assert [types.of(sample) for sample in samples] == ["colour", "colour", OTHER]


def test_questions_of_another_set_find_their_types() -> None:
    types = question_types([said("is the red ball pocketed"), said("is the blue ball pocketed")])
    assert types.of(said("Is the black ball pocketed?")) == "is the … ball pocketed"


def test_captions_among_short_answers_are_texts_and_no_part_of_a_type() -> None:
    caption = "The red ball rolls to the left and falls into the top pocket."
    samples = [said("which ball", "red.")] * 6 + [said("describe the video", caption)] * 2
    types = question_types(samples)
    assert [types.is_free(sample) for sample in samples] == [False] * 6 + [True] * 2


def test_a_long_answer_among_short_ones_is_measured_as_a_text() -> None:
    long = "Because the cue ball came back from the cushion and pushed it into the pocket."
    samples = [said("why did it fall", "it was hit.")] * 5 + [said("why did it fall", long)]
    types = question_types(samples)
    assert types.of(samples[-1]) == "why did it fall (texts)"
    assert types.is_free(samples[-1])
    assert not types.is_free(samples[0])


def test_long_answers_that_are_accepted_by_list_are_no_texts() -> None:
    long = "it rolls slowly to the upper left corner of the green table and stays there"
    samples = [said("where does it go", long, accept=[long])] * 3
    assert not question_types(samples).is_free(samples[0])


def test_what_says_it_is_text_is_text() -> None:
    samples = [said("what now", "it rolls.", value="text", type="next")] * 2
    assert question_types(samples).is_free(samples[0])


QUESTIONS = st.lists(
    st.lists(st.sampled_from(["is", "the", "red", "blue", "ball", "hit"]), min_size=1, max_size=6).map(
        " ".join
    ),
    min_size=1,
    max_size=30,
)


def grouped(questions: list[str]) -> QuestionTypes:
    return question_types([said(question) for question in questions])


@given(QUESTIONS)
def test_the_order_of_the_data_changes_nothing(questions: list[str]) -> None:
    shuffled = random.Random(0).sample(questions, len(questions))
    one, other = grouped(questions), grouped(shuffled)
    assert [one.of(said(q)) for q in questions] == [other.of(said(q)) for q in questions]


@given(QUESTIONS)
def test_a_type_with_a_slot_has_at_least_two_questions(questions: list[str]) -> None:
    types = grouped(questions)
    members: dict[str, set[str]] = {}
    for question in questions:
        members.setdefault(types.of(said(question)), set()).add(question)
    assert all(len(found) > 1 for kind, found in members.items() if "…" in kind)


def test_very_long_questions_have_no_slot() -> None:
    """Every place of every width would be tried, which grows with the square of the length."""
    told = " ".join(f"w{index}" for index in range(50_000))
    assert kinds(f"{told} red", f"{told} blue") == [OTHER, OTHER]
