"""Small rules of alignment by their numbers: scores, chance, shares, groups, and how epochs are planned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from align_tools import clip_of, sample
from training_tools import tokenizer as plain_tokenizer

from vidapt.errors import CheckpointError, ConfigError
from vidapt.metrics.retrieval import BothWays, Retrieval
from vidapt.recipe import Batching, Pairing
from vidapt.training.align.captions import ClipCaptions, caption_clips
from vidapt.training.align.ends import Ends
from vidapt.training.align.groups import group_numbers, in_order
from vidapt.training.align.interpolate import SHARES, check_new, check_share
from vidapt.training.align.order import PairOrder
from vidapt.training.align.retrieve import score_of
from vidapt.training.align.watch import ChanceWatch
from vidapt.training.data import ClipSamples
from vidapt.training.order import Order
from vidapt.training.sweep.retrieval import Retrieving
from vidapt.training.sweep.swept import Swept, check_sweep
from vidapt.training.tokenizer import learn_caption_tokenizer


def one_way(first: float, mean: float) -> Retrieval:
    return Retrieval(4, 4, {1: first, 5: 1.0, 10: 1.0}, 1.5, mean, 0.0)


def both(first: tuple[float, float], mean: tuple[float, float]) -> BothWays:
    return BothWays(one_way(first[0], mean[0]), one_way(first[1], mean[1]))


def test_a_score_is_the_mean_recall_of_both_ways_and_then_the_mean_rank() -> None:
    assert score_of(both((0.5, 0.25), (2.0, 5.0))) == (0.375, -3.5)
    better_rank, better_recall = both((0.5, 0.5), (1.0, 1.0)), both((0.75, 0.5), (9.0, 9.0))
    assert score_of(better_recall) > score_of(better_rank) > score_of(both((0.5, 0.5), (1.0, 2.0)))


def swept(**found: dict[str, BothWays]) -> Swept[ClipCaptions, BothWays]:
    shares = {float(name[1:]) / 100: sets for name, sets in found.items()}
    ends = Ends("start", "tuned")
    return Swept(ends, Retrieving(ends), {"general": {"clips": 4, "texts": 8}}, shares)


def test_the_best_share_has_the_highest_sum_over_sets_then_the_lowest_ranks_then_is_smallest() -> None:
    low, high, quick = both((0.1, 0.1), (3, 3)), both((0.6, 0.6), (3, 3)), both((0.6, 0.6), (2, 3))
    assert swept(s100={"a": high, "b": low}, s50={"a": high, "b": high}, s0={"a": low, "b": high}).best == 0.5
    assert swept(s0={"a": high}, s50={"a": quick}, s100={"a": high}).best == 0.5
    assert swept(s100={"a": high}, s75={"a": high}, s0={"a": low}).best == 0.75


def test_rows_of_a_sweep_are_told_in_percent() -> None:
    found = swept(s25={"in_domain": both((0.123, 0.5), (2.346, 5.0))})
    assert found.rows() == [
        ["0.25", "in domain", "clip to text", "12.3 %", "100.0 %", "100.0 %", "1.5", "2.35"],
        ["0.25", "in domain", "text to clip", "50.0 %", "100.0 %", "100.0 %", "1.5", "5.00"],
    ]
    told = found.to_dict()
    assert told["sets"] == {"general": {"clips": 4, "texts": 8}}
    assert (told["start"], told["tuned"], told["broken"]) == ("start", "tuned", [])
    assert told["best"]["share"] == 0.25


def test_nothing_to_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shares: there are none"):
        check_sweep([], None)
    with pytest.raises(ConfigError, match=r"1\.5 is not from 0 to 1"):
        check_sweep([0.5, 1.5], None)
    with pytest.raises(CheckpointError, match="exists"):
        check_sweep([0.5], tmp_path)
    check_sweep([0.0, 1.0], tmp_path / "new")


def test_shares_are_from_nothing_to_all_in_tenths(tmp_path: Path) -> None:
    assert pytest.approx([tenth / 10 for tenth in range(11)]) == SHARES
    for share in (0.0, 1.0):
        check_share(share)
    for share in (-5e-324, math.nextafter(1.0, 2.0), math.nan):
        with pytest.raises(ConfigError, match="is not from 0 to 1"):
            check_share(share)
    check_new(tmp_path / "new")
    with pytest.raises(CheckpointError, match="exists"):
        check_new(tmp_path)


def test_a_term_is_told_of_after_so_many_steps_near_chance_in_a_row() -> None:
    """Within an eighth of 4: from 3.5 to 4.5, the ends included."""
    watch = ChanceWatch(0.125, 3)
    assert watch({"a": 4.5, "a/chance": 4.0, "b/chance": 1.0}) == {}
    assert watch({"a": 3.5, "a/chance": 4.0}) == {}
    assert watch.line() == ""
    assert watch({"a": 4.0, "a/chance": 4.0}) == {"a/near_chance": 3.0}
    assert watch.line() == "a within 12% of chance for 3 logged steps"
    # Steps that do not log it count neither way; one that is far from chance begins anew.
    assert watch({"c": 1.0}) == {"a/near_chance": 3.0}
    assert watch({"a": 4.51, "a/chance": 4.0}) == {}
    assert [watch({"a": 4.0, "a/chance": 4.0}) for _ in range(3)] == [{}, {}, {"a/near_chance": 3.0}]


def test_chance_below_zero_is_as_near() -> None:
    watch = ChanceWatch(0.5, 1)
    assert watch({"a": -3.0, "a/chance": -2.0}) == {"a/near_chance": 1.0}
    assert watch({"a": -3.1, "a/chance": -2.0}) == {}


def of_texts(*texts: str) -> list[ClipCaptions]:
    return [clip_of(number, [text]) for number, text in enumerate(texts)]


def test_texts_that_share_exactly_so_many_words_are_near_duplicates() -> None:
    """Three of four words in the same order: of both together there are five, three of which are common."""
    clips = of_texts("one two three four", "one two three five")
    assert in_order(["one", "two", "three", "four"], ["one", "two", "three", "five"]) == 3 / 5
    assert in_order([], []) == 0.0
    assert in_order(["a"], ["a"]) == 1.0
    assert group_numbers(clips, Pairing(alike="text", similar=0.6)) == [0, 0]
    assert group_numbers(clips, Pairing(alike="text", similar=0.61)) == [0, 1]


@pytest.mark.parametrize(("clips", "largest"), [(20, 8), (160, 8), (200, 10)])
def test_a_group_of_near_duplicates_holds_eight_clips_or_a_twentieth_of_all(clips: int, largest: int) -> None:
    """Texts of one long beginning, each of which is like each other one."""
    begun = " ".join(f"w{number}" for number in range(40))
    alike = [f"{begun} end{number}" for number in range(16)]
    others = [f"{number} stands alone here" for number in range(clips - len(alike))]
    found = group_numbers(of_texts(*alike, *others), Pairing(alike="text", similar=0.9))
    assert max(found[:16].count(number) for number in found[:16]) == largest


class Counted:
    """An order that counts how often it plans an epoch."""

    def __init__(self, order: Any) -> None:
        self.order = order

    def steps(self, numbers: list[int]) -> list[int]:
        """How often it planned anew while these steps were asked for."""
        count = []
        for number in numbers:
            before = self._planned()
            self.order.step(number)
            count.append(int(self._planned() is not before))
        return count

    def _planned(self) -> object:
        """What it keeps of the epoch it planned last."""
        return self.order._planned if isinstance(self.order, PairOrder) else self.order._buckets[0]._known


def test_an_epoch_is_planned_once_while_its_steps_come() -> None:
    """Planning takes time with the number of all clips."""
    captioned = of_texts(*"abcdef")
    asked = [ClipSamples(one.media, (sample("1", "what?", "that"),), ()) for one in captioned]
    batching = Batching(clips=2)
    for order in (
        Order(asked, batching, (0, 0)),
        PairOrder(captioned, range(6), batching, Pairing(), (0, 0)),
    ):
        assert order.steps_per_epoch == 3
        assert Counted(order).steps([0, 1, 2, 3, 4, 5, 3, 0]) == [1, 0, 0, 1, 0, 0, 0, 1]


def test_a_share_of_captions_takes_part_and_one_at_least() -> None:
    typed = [
        ClipCaptions(one.media, ("x", "y", "z"), ("never", "often", None), ((1,),) * 3, ((),) * 3)
        for one in of_texts(*"ab")
    ]
    only = [ClipCaptions(one.media, ("x",), ("never",), ((1,),), ((),)) for one in of_texts("c")]
    batching = Batching(clips=3, share={"never": 0.0, "often": 1.0})
    (step,) = (PairOrder(typed + only, range(3), batching, Pairing(), (0, 0)).step(0),)
    assert {visit.clip: visit.samples for visit in step} == {0: (1, 2), 1: (1, 2), 2: (0,)}


def test_texts_are_padded_to_no_more_than_is_read() -> None:
    words = learn_caption_tokenizer(["the red ball"], 300)
    samples = [sample("1", "what?", "the red ball")]
    assert caption_clips(samples, Pairing(tokens=9), words, 9).counts == {"captions": 1}
    with pytest.raises(ConfigError, match=r"pairs\.tokens: 9, but the text tower reads 8"):
        caption_clips(samples, Pairing(tokens=9), words, 8)


def test_a_text_as_long_as_what_is_read_is_whole() -> None:
    words = learn_caption_tokenizer(["the red ball"], 300)
    samples = [sample("1", "what?", "the red ball")]
    length = len(words("the red ball").input_ids)
    assert caption_clips(samples, Pairing(longer="truncate"), words, length).counts == {"captions": 1}
    cut = caption_clips(samples, Pairing(longer="truncate"), words, length - 1)
    assert cut.counts == {"captions": 1, "captions_truncated": 1}
    assert cut.line() == "1 captions, 1 captions truncated"


def test_a_learned_vocabulary_has_the_size_asked_for() -> None:
    """Marks come first, and of a dual encoder's two the second has the largest id."""
    words = learn_caption_tokenizer(["the red ball hits the blue ball " * 9] * 9, 300)
    assert len(learn_caption_tokenizer(["the red ball hits the blue ball"] * 9, 262)) == 262
    assert (words.pad_token_id, words.bos_token_id, words.eos_token_id) == (0, 1, len(words) - 1)
    assert words("7 12").input_ids[0] == 1
    # Digits stand alone, and nothing is put in front of the first word.
    assert [words.decode([one]) for one in words("7 12", add_special_tokens=False).input_ids] == [
        "7",
        " ",
        "1",
        "2",
    ]
    assert plain_tokenizer().pad_token_id == 0
