"""Our LLaVA-NeXT-Interleave gives the logits and words of its port, which is transformers' LLaVA class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import parity_tools as tools
import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from vidapt.hub import llava_interleave, open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import MEDIA, Clip, Sample, Turn
from vidapt.recipe import Blueprint

WIDE, TALL, SMALL, VIDEO = anyres.WIDE, anyres.TALL, anyres.SMALL, anyres.VIDEO
given = anyres.interleave_given


@pytest.fixture(scope="module")
def oracle() -> LlavaForConditionalGeneration:
    return anyres.interleave_model()


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return anyres.save(oracle, anyres.siglip_processor(), tmp_path_factory.mktemp("interleave"))


@pytest.fixture(scope="module")
def model(folder: Path) -> VideoLM:
    return open_checkpoint(folder)[0]


def test_the_port_is_told_from_llava_by_its_parts(folder: Path) -> None:
    assert open_checkpoint(folder)[2].family == "llava_interleave"


@pytest.mark.parametrize(
    "clips",
    [[WIDE], [TALL], [WIDE, TALL, SMALL], [VIDEO], [WIDE, VIDEO, TALL]],
    ids=["wide", "tall", "three stills", "frames", "stills and frames"],
)
def test_logits_equal_transformers(oracle: Any, model: VideoLM, clips: list[Tensor]) -> None:
    assert anyres.difference(oracle, model, clips, given) < tools.TOLERANCE


def test_rows_of_a_mixed_batch_equal_transformers_one_by_one(oracle: Any, model: VideoLM) -> None:
    rows = [[WIDE], [SMALL, TALL], [VIDEO]]
    each = [anyres.Theirs(oracle, model, clips, given, tools.AFTER).logits() for clips in rows]
    torch.testing.assert_close(tools.our_logits(model, rows), torch.cat(each), atol=tools.TOLERANCE, rtol=0)


def _layer(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"towers": ({**blueprint.towers[0], "layer": -2},)})


def _crop(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"resolution": {**blueprint.resolution, "fit": "crop"}})


@pytest.mark.parametrize("mistake", [_layer, _crop])
def test_a_mistake_breaks_parity(
    oracle: Any, folder: Path, mistake: Callable[[Blueprint], Blueprint]
) -> None:
    wrong, _, _ = open_checkpoint(folder, edit=mistake)
    assert anyres.difference(oracle, wrong, [WIDE, TALL], given) > 100 * tools.TOLERANCE


def test_the_order_of_clips_matters(oracle: Any, model: VideoLM) -> None:
    there = anyres.Theirs(oracle, model, [WIDE, TALL], given, tools.AFTER).logits()
    assert (tools.our_logits(model, [[TALL, WIDE]]) - there).abs().max() > 100 * tools.TOLERANCE


def test_greedy_words_equal_transformers_in_a_batch_of_mixed_lengths(oracle: Any, model: VideoLM) -> None:
    rows = [([WIDE], [7, 8, 9]), ([SMALL, TALL, WIDE], [11]), ([VIDEO], [20, 21, 22, 23])]
    for (clips, words), ours in zip(rows, anyres.our_words(model, rows), strict=True):
        assert ours == anyres.Theirs(oracle, model, clips, given, words).write(32)
        assert len(set(ours)) > 3


def sample(name: str = "a") -> Sample:
    clips = tuple(Clip(str(index), Path(f"{index}.jpg")) for index in range(3))
    turns = (
        Turn("system", "Look."),
        Turn("user", f"Is {MEDIA} like {MEDIA}?"),
        Turn("assistant", "Yes."),
        Turn("user", f"And {MEDIA}?"),
    )
    return Sample(name, clips, turns)


def test_clips_may_stand_in_front_or_in_place() -> None:
    assert llava_interleave.place(sample(), "in_place") == sample()
    front = llava_interleave.place(sample(), "front")
    assert [turn.text for turn in front.turns] == [
        "Look.",
        f"{MEDIA * 3}Is <image> like <image>?",
        "Yes.",
        "And <image>?",
    ]
    assert front.media == sample().media


def test_a_mix_has_both_and_depends_on_the_sample_and_the_seed_alone() -> None:
    def drawn(seed: int) -> list[Sample]:
        return [llava_interleave.place(sample(str(index)), "mixed", seed) for index in range(60)]

    in_front = [MEDIA * 3 in mixed.turns[1].text for mixed in drawn(0)]
    assert 15 < sum(in_front) < 45
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_clips_that_nobody_mentions_stay_as_they_are() -> None:
    plain = Sample("b", sample().media, (Turn("user", "What is this?"),))
    assert llava_interleave.place(plain, "front") == plain
