"""Each check on labels as they are met: what is bad goes for the right reason, what is good stays."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from clean_tools import judge, judge_texts, outcomes, sample, spoken

from vidapt.cleaning.checks._cap import beyond
from vidapt.cleaning.checks.language import language_of
from vidapt.cleaning.labels import Given, Label
from vidapt.nouns import Turn

REFUSALS = (
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, I can’t help with identifying people in this video.",
    "I'm unable to view or analyze videos directly, but if you describe it I can help.",
    "I apologize, but I am not able to watch this clip.",
    "I don't see any video or image attached to our conversation.",
    "As an AI language model, I do not have the ability to see videos.",
    "Unfortunately, I cannot determine what happens here.",
    "It looks like no video was uploaded. Please upload the file again.",
    '"I can not view images."',
    "The frames are dark. As an AI, I can only guess.",
    "**I'm sorry, but I cannot help with that.**",
    "Es tut mir leid, aber ich kann das Video nicht ansehen.",
    "Désolé, mais je ne peux pas vous aider.",
    "Lo siento, pero no puedo ayudar con eso.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, mas não posso ajudar com isso.",
    "Извините, но я не могу просматривать видео.",
    "很抱歉，我无法查看视频内容。",
    "作为一个AI语言模型，我无法观看视频。",
    "申し訳ありませんが、その動画を見ることはできません。",
    "죄송합니다. 동영상을 볼 수 없습니다.",
)
TRUE = (
    "The red ball hits the blue ball and rolls into the left pocket.",
    'The man says, "I can\'t help you," and leaves the room.',
    '"I\'m sorry, but I must go," says the woman, and the man nods.',
    "The player is unable to reach the cue ball.",
    "As an aircraft lands, a crowd waves.",
    "I cannot reach the shelf, so I take the ladder.",
    "No ball is pocketed.",
    "无人进球。",
    "no",
)


def test_refusals_are_known_in_the_words_of_models() -> None:
    found = judge_texts("refusal", REFUSALS)
    assert [text for text, verdict in zip(REFUSALS, found, strict=True) if verdict.outcome != "drop"] == []
    assert all(verdict.again and verdict.reason.startswith("refuses: ") for verdict in found)
    assert [text for text, said in zip(TRUE, outcomes("refusal", TRUE), strict=True) if said != "keep"] == []


def test_phrases_of_a_users_own_are_looked_for() -> None:
    texts = ["I would much rather not say.", REFUSALS[0]]
    assert outcomes("refusal", texts, also=["i would … rather not"], shipped=False) == ["drop", "keep"]
    assert outcomes("refusal", ["(a+)+ is a sign. a+ hits b."], also=["(a+)+"], shipped=False) == ["drop"]


def test_broken_json_is_closed_and_nothing_is_invented() -> None:
    texts = [
        '{"caption": "The red ball hits.", "events": ["hit", "roll", "pock',
        '{"caption": "The red ball hits.", "ball',
        '{"a": 1, "b": [1, 2,],}',
        '{"a": "he said \\"no\\", then", "b": {"c": tru',
        '```json\n{"a": 1}\n```',
        'Sure, here it is:\n```\n["red", "blue"]\n```\nAnything else?',
        '{"a": 1} I hope this helps!',
    ]
    found = judge_texts("broken_json", texts)
    assert [verdict.outcome for verdict in found] == ["rewrite"] * 7
    assert [json.loads(verdict.text) for verdict in found] == [
        {"caption": "The red ball hits.", "events": ["hit", "roll"]},
        {"caption": "The red ball hits."},
        {"a": 1, "b": [1, 2]},
        {"a": 'he said "no", then'},
        {"a": 1},
        ["red", "blue"],
        {"a": 1},
    ]
    assert outcomes("broken_json", [verdict.text for verdict in found]) == ["keep"] * 7


def test_json_that_cannot_be_mended_is_asked_for_again() -> None:
    texts = ['{"caption": "The red ball hits the', '{"a": [1, 2}', '{"a": nothing}', "[[" * 5000]
    found = judge_texts("broken_json", texts)
    assert [(verdict.outcome, verdict.again) for verdict in found] == [("drop", True)] * 4
    assert outcomes("broken_json", ['{"a": [1, 2', "[laughs] He leaves."], mend=False) == ["drop", "keep"]
    plain = ["[laughs] He leaves.", "{player} hits", "[1] The ball rolls.", "red", '{"a": 1}', '["x"]']
    assert outcomes("broken_json", plain) == ["keep"] * 6


def test_loops_are_found_as_models_loop() -> None:
    sentence = "The red ball hits the blue ball and rolls to the left cushion. "
    drifting = " ".join(f"The ball then rolls to the left side of the table, {n}." for n in "ab" * 20)
    loops = [
        sentence * 4,
        "A ball rolls. " + "and then it rolls " * 30,
        "red " * 6,
        "红球撞击蓝球。" * 6,
        drifting,
        "na" * 400,
    ]
    found = judge_texts("loop", loops)
    assert [verdict.outcome for verdict in found] == ["drop"] * 6
    assert "4 times in a row" in found[0].reason
    assert "were said before" in judge_texts("loop", [drifting], in_a_row=1000)[0].reason
    assert found[5].reason.startswith("packs ")
    balls = ["red", "blue", "green", "yellow", "black", "white", "pink", "brown"]
    told = " ".join(f"The {ball} ball comes to rest near the left one." for ball in balls)
    good = [sentence, sentence * 2, told, "no no no", "2 2 1", ""]
    assert outcomes("loop", good) == ["keep"] * 6


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The red ball is hit and rolls into the pocket.", "en"),
        ("Die rote Kugel trifft die blaue und rollt nach links.", "de"),
        ("La boule rouge est dans la poche et le joueur sourit.", "fr"),
        ("La bola roja está en el agujero y el jugador se va.", "es"),
        ("Красный шар попадает в лузу, а белый не движется.", "ru"),
        ("Червона куля котиться до лузи, і це не все.", "uk"),
        ("红球撞击蓝球。", "zh"),
        ("赤い球が青い球に当たる。", "ja"),
        ("빨간 공이 굴러간다.", "ko"),
        ("الكرة الحمراء تتدحرج", "arabic"),
        ("red", None),
        ("cue ball", None),
        ("1.5 s", None),
        ("", None),
    ],
)
def test_a_language_is_told_or_left_open(text: str, language: str | None) -> None:
    assert language_of(text) == language


def test_other_languages_than_that_of_most_are_set_aside() -> None:
    english = ["The ball is in the pocket.", "It is the red ball that rolls to the left.", "red", "The end."]
    others = ["Die Kugel ist in der Tasche und rollt nicht.", "红", "The 红球 hits the 蓝球", "π ≈ 3"]
    assert outcomes("language", english * 2 + others) == ["keep"] * 8 + ["drop"] * 4
    # "red" may be German as well, and so may two words.
    assert outcomes("language", english + others[:2], languages=["de", "zh"]) == ["drop"] * 2 + ["keep"] * 4
    # Without a language that most texts have, nothing is said.
    assert outcomes("language", [english[0], others[0]]) == ["keep", "keep"]
    assert outcomes(
        "language", ["赤い球が動く。", "赤球停止", "The end of it is near."], languages=["ja"]
    ) == (["keep", "keep", "drop"])


def test_lengths_are_held_against_those_of_their_type() -> None:
    captions = [sample(f"c{n}", "The red ball rolls over the table. " * (1 + n % 3)) for n in range(40)]
    answers = [
        sample(f"q{n}", ("red", "blue", "green")[n % 3], "which ball?", type="colour") for n in range(40)
    ]
    bad = [
        sample("x", "Red."),
        sample("y", "word " * 200),
        sample("z", "r" * 40, "which ball?", type="colour"),
    ]
    empty = sample("e", "  ", "why?")
    labels = [Label(one, 1) for one in (*captions, *answers, *bad, empty)]
    found = judge("length", labels)
    assert [verdict.outcome for verdict in found] == ["keep"] * 80 + ["drop"] * 4
    assert found[-4].reason.startswith("has 4 letters, and texts of 'describe the video' have ")
    # A type of few labels has no bounds.
    few = [Label(one, 1) for one in (*captions[:5], bad[1])]
    assert [verdict.outcome for verdict in judge("length", few)] == ["keep"] * 6


def test_voices_gainsay_a_label() -> None:
    said = "The red ball hits the blue ball. It stops."
    other = "The red ball hits the green ball. It stops."
    cases = [
        (spoken(said, said, other, other), "drop"),
        (spoken(said, said, said, other), "keep"),
        (spoken(said, said, other), "drop"),
        (spoken("It hits 2 balls.", "It hits 2 balls.", "It hits 3 balls."), "drop"),
        (spoken("A ball is pocketed.", "A ball is pocketed.", "A ball is not pocketed."), "drop"),
        # In other words, or of other things: it says nothing against it.
        (spoken(said, said, "Somebody plays pool."), "keep"),
        (spoken("A red ball rolls. A blue ball rolls.", "A blue ball rolls. A red ball rolls."), "keep"),
        (spoken(said, agreement=0.1), "drop"),
        (spoken(said, agreement=0.3), "keep"),
        (spoken(said), "keep"),
    ]
    found = [judge("contradiction", [label])[0] for label, _ in cases]
    assert [verdict.outcome for verdict in found] == [outcome for _, outcome in cases]
    assert "'The red ball hits the blue ball.' where another voice says" in found[0].reason


def test_rows_of_one_clip_vote() -> None:
    def votes(*answers: str, **facts: object) -> list[str]:
        labels = [
            Label(sample(str(n), text, "Which ball?", "one", **facts), 1) for n, text in enumerate(answers)
        ]
        return [verdict.outcome for verdict in judge("contradiction", labels)]

    assert votes("red", "Red.", "blue") == ["keep", "keep", "drop"]
    assert votes("red", "blue") == ["drop", "drop"]
    assert votes("red", "red ball", "red", accept=["red", "red ball"]) == ["keep"] * 3
    assert votes("red", "red ball", "blue", accept=["red ball", "red"]) == ["keep", "keep", "drop"]
    assert votes("red", "a long answer that nobody compares as a whole") == ["keep"] * 2
    apart = [Label(sample(str(n), text, "Which ball?"), 1) for n, text in enumerate(("red", "blue"))]
    assert [verdict.outcome for verdict in judge("contradiction", apart)] == ["keep"] * 2


def test_a_text_is_kept_so_often_and_short_answers_are_none() -> None:
    base = "the red ball rolls slowly over the table and stops near the left cushion after a while"
    near = [f"{base} {word}." for word in ("twice", "again", "softly", "slowly", "there")]
    far = ["a white cue ball breaks the rack and two balls fall into the corner pockets at once"]
    found = judge_texts("near_duplicate", [*near, *far, "red", "red", "red"], most=2)
    assert [verdict.outcome for verdict in found].count("drop") == 3
    assert [verdict.outcome for verdict in found[5:]] == ["keep"] * 4
    assert "is one of 5 like" in next(one.reason for one in found if one.reason)
    same = [
        Label(sample(name, text, "Which ball?", "one"), 1)
        for name, text in zip("abc", ("red", "Red.", "blue"), strict=True)
    ]
    assert sorted(one.outcome for one in judge("near_duplicate", same)) == ["drop", "keep", "keep"]
    assert [one.outcome for one in judge("near_duplicate", same, twice=True)] == ["keep"] * 3


def test_which_of_equals_are_kept_depends_on_their_ids_alone() -> None:
    labels = [Label(sample(f"row {n}", "x"), 1) for n in range(30)]
    kept = {labels[place].sample.id for place in range(30)} - {
        labels[place].sample.id for place in beyond(range(30), labels, 7)
    }
    turned = labels[::-1]
    again = {f"row {n}" for n in range(30)} - {turned[p].sample.id for p in beyond(range(30), turned, 7)}
    assert kept == again
    assert len(kept) == 7


def test_what_is_guessed_without_looking_is_capped() -> None:
    asked = [sample(f"{n}", "yes" if n % 10 else "no", "Is it red?", type="red") for n in range(100)]
    other = [sample(f"o{n}", ("left", "right")[n % 2], "Which side?", type="side") for n in range(40)]
    labels = [Label(one, 1) for one in (*asked, *other)]
    found = judge("blind", labels, least=5)
    kept = [label.text for label, verdict in zip(labels, found, strict=True) if verdict.outcome == "keep"]
    # Ten of the others are 40 %.
    assert (kept.count("yes"), kept.count("no"), len(kept)) == (15, 10, 65)
    reasons = {verdict.reason for verdict in found} - {""}
    assert reasons == {"90 of 100 labels of 'red' are guessed without looking, and 15 of them are kept"}
    assert {verdict.outcome for verdict in judge("blind", labels[:100], least=101)} == {"keep"}


@pytest.mark.parametrize(("second", "capped"), [(("left", "right"), False), (("left", "left"), True)])
def test_a_conversation_is_capped_only_if_all_of_it_is_guessed(second: tuple[str, str], capped: bool) -> None:
    rows = [
        replace(
            sample(f"{n}", "", "", type=None),
            turns=(
                Turn("user", "Is it red?"),
                Turn("assistant", "yes" if n % 10 else "no"),
                Turn("user", "Which side?"),
                Turn("assistant", second[n % 2]),
            ),
            facts={},
        )
        for n in range(100)
    ]
    labels = [Label(one, place) for one in rows for place in (1, 3)]
    found = judge("blind", labels)
    dropped = {label.sample.id for label, one in zip(labels, found, strict=True) if one.outcome == "drop"}
    assert bool(dropped) == capped
    assert not any(one.endswith("0") for one in dropped)  # of these, "no" is not guessed


def test_a_model_says_what_is_guessed() -> None:
    labels = [Label(sample(f"{n}", f"answer {n}", f"question {n}?", type="t"), 1) for n in range(10)]
    asked: list[tuple[str, str]] = []

    def score(pairs: object) -> list[float]:
        asked.extend(pairs)  # type: ignore[arg-type]
        return [-0.1 if n < 8 else -5.0 for n in range(10)]

    found = judge("blind", labels, Given(blind=score), least=2)
    assert [verdict.outcome for verdict in found].count("drop") == 8 - 3
    assert all(verdict.outcome == "keep" for verdict in found[8:])
    assert asked[0] == ("question 0?", "answer 0")
