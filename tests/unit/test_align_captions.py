"""Which texts become captions, which become falsified copies, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from align_tools import sample

from vidapt.errors import ConfigError, FormatError
from vidapt.models.dual_text import padded, shortened, text_ids
from vidapt.nouns import Sample
from vidapt.recipe import Pairing
from vidapt.training.align.captions import Captioned, caption_clips
from vidapt.training.tokenizer import learn_caption_tokenizer

WORDS = ["the red ball hits the blue ball", "is this true? it rolls away"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return learn_caption_tokenizer(WORDS, 300)


def captioned(tokenizer: Any, *samples: Sample, positions: int = 50, **pairing: Any) -> Captioned:
    return caption_clips(samples, Pairing.model_validate(pairing), tokenizer, positions)


def test_everything_answered_is_a_caption_of_its_clip(tokenizer: Any) -> None:
    found = captioned(
        tokenizer,
        sample("1", "what?", "a ball", "and then?", "it rolls", video="x"),
        sample("2", "what?", "a cue", video="y"),
        sample("3", "what?", "a ball", video="x"),
    )
    assert [clip.texts for clip in found.clips] == [("a ball", "it rolls"), ("a cue",)]
    assert found.counts == {"captions": 3, "captions_repeated": 1}
    assert found.clips[0].ids[0] == text_ids(tokenizer, "a ball")


def test_statements_are_captions_where_they_are_true_and_copies_where_they_are_false(tokenizer: Any) -> None:
    form = r"[^?]*\? (.+?)\."
    found = captioned(
        tokenizer,
        sample("0", "is this true? it is cold.", "no.", video="x"),
        sample("1", "is this true? it is red.", "yes.", video="x"),
        sample("2", "is this true? it is blue.", "no.", video="x"),
        sample("3", "is this true? it rolls.", "so it is.", video="x", accept=["right"]),
        sample("4", "is this true? it flies.", "no.", video="y"),
        captions="statements",
        statement=form,
    )
    (clip,) = found.clips
    assert clip.texts == ("it is red", "it rolls")
    copies = [text_ids(tokenizer, text) for text in ("it is cold", "it is blue")]
    assert clip.false == (tuple(copies), ())
    assert found.counts == {
        "captions": 2,
        "clips_without_a_caption": 1,
        "falsified": 2,
        "falsified_without_a_true_text": 1,
    }
    with pytest.raises(FormatError, match="labels:5"):
        captioned(tokenizer, sample("5", "no statement", "yes."), captions="statements", statement=form)


def test_worse_answers_and_what_is_known_to_be_false_are_copies(tokenizer: Any) -> None:
    one = replace(sample("1", "what?", "a red ball", false=["a blue ball"]), rejected="a green ball")
    (clip,) = captioned(tokenizer, one).clips
    assert clip.false == (tuple(text_ids(tokenizer, text) for text in ("a green ball", "a blue ball")),)


def test_long_captions_are_skipped_or_cut_by_request(tokenizer: Any) -> None:
    samples = [sample("1", "what?", "q" * 30), sample("2", "what?", "the red ball")]
    skipped = captioned(tokenizer, *samples, positions=20)
    assert [clip.texts for clip in skipped.clips] == [("the red ball",)]
    assert skipped.counts == {"captions": 1, "captions_too_long": 1, "clips_without_a_caption": 1}
    cut = captioned(tokenizer, *samples, positions=20, tokens=10, longer="truncate")
    (long,) = cut.clips[0].ids
    assert len(long) == 10
    assert long[-1] == len(tokenizer) - 1
    assert cut.counts == {"captions": 2, "captions_truncated": 1}
    assert "1 captions truncated" in cut.line()


def test_what_is_no_caption_is_counted(tokenizer: Any) -> None:
    none, two = (replace(sample("1", "q", "a"), media=media) for media in ((), sample("1").media * 2))
    found = captioned(tokenizer, none, two, sample("2", "q", "<video> "), sample("3", "q", "a"))
    assert found.counts == {
        "captions": 1,
        "captions_empty": 1,
        "clips_without_a_caption": 1,
        "samples_not_about_one_clip": 2,
    }
    with pytest.raises(ConfigError, match="no caption is left: 1 samples not about one clip"):
        captioned(tokenizer, none)


def test_a_learned_tokenizer_ends_texts_with_its_largest_id(tokenizer: Any) -> None:
    ids = text_ids(tokenizer, "the red ball \N{GRINNING FACE}")
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == len(tokenizer) - 1 == max(ids)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the red ball \N{GRINNING FACE}"
    assert shortened(ids, 3) == (*ids[:2], ids[-1])


def test_a_tokenizer_without_end_marks_is_refused() -> None:
    from training_tools import tokenizer as other

    with pytest.raises(ConfigError, match="does not end a text with its largest id"):
        text_ids(other(), "the red ball")


def test_padding_stands_behind() -> None:
    ids, real = padded([(1, 5, 9), (1, 9)], 4)
    assert ids.tolist() == [[1, 5, 9, 0], [1, 9, 0, 0]]
    assert real.tolist() == [[True, True, True, False], [True, True, False, False]]
    assert padded([(1, 9)])[0].shape == (1, 2)


def test_copies_by_rule_change_one_fact_of_texts_that_have_none(tokenizer: Any) -> None:
    given = sample("1", "what?", "the red ball rolls left")
    told = sample("2", "what?", "a red ball", false=["a blue ball"])
    one, other = captioned(tokenizer, given, told, falsify=2).clips
    (copies,) = one.false
    words = [tokenizer.decode(ids, skip_special_tokens=True).split() for ids in copies]
    true = ["the", "red", "ball", "rolls", "left"]
    changed = sorted(
        place for copy in words for place, (was, now) in enumerate(zip(true, copy, strict=True)) if was != now
    )
    assert changed == [1, 4], "a colour in one copy, a side in the other"
    assert other.false == ((text_ids(tokenizer, "a blue ball"),),)
    assert captioned(tokenizer, given).clips[0].false == ((),)


def test_a_lexicon_of_ones_own_says_what_can_be_changed(tokenizer: Any, tmp_path: Path) -> None:
    lexicon = tmp_path / "words.yaml"
    lexicon.write_text("facts: {thing: [[ball, cue]]}\n", encoding="utf-8")
    (clip,) = captioned(tokenizer, sample("1", "what?", "a red ball"), falsify=3, lexicon=lexicon).clips
    assert clip.false == ((text_ids(tokenizer, "a red cue"),),)


def test_short_and_right_stands_beside_long_and_wrong_and_the_reverse(tokenizer: Any) -> None:
    whole = "the red ball rolls. it hits the left cue."
    wrong = "the blue ball rolls. it hits the left cue."
    (clip,) = captioned(tokenizer, sample("1", "what?", whole, false=[wrong]), sentences=True).clips
    assert clip.texts == (whole, "the red ball rolls.", "it hits the left cue.")
    assert clip.false == ((text_ids(tokenizer, wrong),),) * 3
    (made,) = captioned(tokenizer, sample("1", "what?", whole), sentences=True, falsify=1).clips
    lengths = [len(text_ids(tokenizer, text)) for text in made.texts]
    copies = [[len(ids) for ids in false] for false in made.false]
    assert len(copies[0]) == 3, "one of the whole and one of each sentence"
    assert all(len(false) == 2 for false in copies[1:]), "one of the sentence and one of the whole"
    assert min(copies[0]) < lengths[0] / 1.5
    assert all(max(false) > length * 1.3 for false, length in zip(copies[1:], lengths[1:], strict=True))
    (alone,) = captioned(tokenizer, sample("1", "what?", "one ball."), sentences=True).clips
    assert alone.texts == ("one ball.",)


def test_statements_and_answers_can_be_read_together(tokenizer: Any) -> None:
    found = captioned(
        tokenizer,
        sample("1", "what?", "a red ball.", video="x"),
        sample("2", "is this true? it rolls.", "yes", video="x"),
        sample("3", "is this true? it flies.", "no", video="x"),
        sample("4", "is this true? a red ball.", "yes", video="x"),
        sample("5", "is this true? a green ball.", "no", video="x"),
        captions="both",
        statement=r"is this true\? (.+)",
    )
    (clip,) = found.clips
    assert clip.texts == ("a red ball.", "it rolls.")
    copies = [text_ids(tokenizer, text) for text in ("a green ball.", "it flies.")]
    assert clip.false == ((copies[0],), (copies[1],)), "a repeated text gets the copy that follows it"
    with pytest.raises(ValueError, match="needs `statement`"):
        Pairing(captions="both")


def test_a_lexicon_without_copies_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs `falsify`"):
        Pairing(lexicon=tmp_path)
