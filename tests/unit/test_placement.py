"""Several clips are read where the text names them or in front of it, and the words tell which is which."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training_tools import PROMPT, assert_equal, recipe, stage, tokenizer, trained, write_clips

from vidapt.formats import placed
from vidapt.nouns import MEDIA, Clip, Sample, Turn
from vidapt.training.data import group_by_clip


def sample(*names: str, text: str = f"compare {MEDIA} with {MEDIA}, then say") -> Sample:
    turns = (Turn("system", "be brief"), Turn("user", text), Turn("assistant", "they differ"))
    return Sample("1", tuple(Clip(name, Path(name)) for name in names), turns)


def test_in_front_words_name_them() -> None:
    found = placed(sample("a", "b"), "front")
    assert (
        found.turns[1].text == f"Image 1: {MEDIA}\nImage 2: {MEDIA}\ncompare Image 1 with Image 2, then say"
    )
    assert [turn.text for turn in found.turns[::2]] == ["be brief", "they differ"]
    assert found.media == sample("a", "b").media


def test_clips_of_later_turns_come_to_the_first() -> None:
    turns = (
        Turn("user", f"{MEDIA} what?"),
        Turn("assistant", "one"),
        Turn("user", f"and {MEDIA}?"),
        Turn("assistant", "two"),
    )
    found = placed(Sample("1", (Clip("a", Path("a")), Clip("b", Path("b"))), turns), "front")
    assert found.turns[0].text == f"Image 1: {MEDIA}\nImage 2: {MEDIA}\nImage 1 what?"
    assert found.turns[2].text == "and Image 2?"


@pytest.mark.parametrize("how", ["front", "mixed"])
def test_one_clip_and_clips_without_a_place_stay(how: str) -> None:
    alone, unplaced = sample("a", text=f"{MEDIA} what?"), sample("a", "b", text="what?")
    assert placed(alone, how) is alone  # type: ignore[arg-type]
    assert placed(unplaced, how) is unplaced  # type: ignore[arg-type]
    both = sample("a", "b")
    assert placed(both, "as_written") is both


def test_mixed_is_half_of_them_and_depends_on_the_clips_alone() -> None:
    many = [sample(f"{number}", "b") for number in range(200)]
    front = [placed(one, "mixed") is not one for one in many]
    assert 70 < sum(front) < 130
    again = [sample(f"{number}", "b", text=f"{MEDIA} or {MEDIA}?") for number in range(200)]
    assert [placed(one, "mixed") is not one for one in again] == front


def test_samples_of_one_pair_share_what_is_in_front() -> None:
    asks = [sample("a", "b", text=f"is {MEDIA} like {MEDIA} in {what}?") for what in ("size", "colour")]
    apart = group_by_clip(asks, PROMPT, tokenizer(), 64)
    together = group_by_clip(asks, PROMPT, tokenizer(), 64, placement="front")
    assert len(together) == 1
    assert len(together[0].samples) == 2
    assert len(apart[0].encoded[0].prefix) == len(together[0].encoded[0].prefix)


def test_it_is_trained_with(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "clips", clips=2).parent
    said = [("human", "is <video> like <video>?"), ("gpt", "no")]
    row = {
        "id": "1",
        "video": ["0.mp4", "1.mp4"],
        "conversations": [{"from": f, "value": v} for f, v in said],
    }
    labels = folder / "pairs.json"
    labels.write_text(json.dumps([row]), encoding="utf-8")
    found = {
        how: trained(recipe(stage(labels, batching={"placement": how, "blind": 0}, steps=1)), tmp_path / how)
        for how in ("as_written", "front", "mixed")
    }
    with pytest.raises(AssertionError):
        assert_equal(found["as_written"], found["front"])
    same = [how for how in ("as_written", "front") if _equal(found["mixed"], found[how])]
    assert len(same) == 1


def _equal(one: dict, other: dict) -> bool:  # type: ignore[type-arg]
    return all(one[name].equal(other[name]) for name in one)
