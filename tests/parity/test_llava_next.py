"""Our LLaVA-NeXT gives transformers' logits and words for stills of any shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import parity_tools as tools
import pytest
import torch
from torch import Tensor
from transformers import LlavaNextForConditionalGeneration

from vidapt.hub import open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint

WIDE, TALL, SMALL, STRIP = anyres.WIDE, anyres.TALL, anyres.SMALL, anyres.STRIP
given = anyres.next_given


@pytest.fixture(scope="module")
def oracle() -> LlavaNextForConditionalGeneration:
    return anyres.next_model()


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return anyres.save(oracle, anyres.next_processor(), tmp_path_factory.mktemp("next"))


@pytest.fixture(scope="module")
def model(folder: Path) -> VideoLM:
    return open_checkpoint(folder)[0]


@pytest.mark.parametrize(
    "clips",
    [[WIDE], [TALL], [SMALL], [STRIP], [WIDE, TALL], [SMALL, STRIP, TALL]],
    ids=["wide", "tall", "small", "strip", "two", "three"],
)
def test_logits_equal_transformers(oracle: Any, model: VideoLM, clips: list[Tensor]) -> None:
    assert anyres.difference(oracle, model, clips, given) < tools.TOLERANCE


def test_rows_of_a_batch_equal_transformers_one_by_one(oracle: Any, model: VideoLM) -> None:
    rows = [[WIDE], [SMALL, TALL], [STRIP]]
    each = [anyres.Theirs(oracle, model, clips, given, tools.AFTER).logits() for clips in rows]
    torch.testing.assert_close(tools.our_logits(model, rows), torch.cat(each), atol=tools.TOLERANCE, rtol=0)


def test_frames_may_be_read_as_stills_one_after_the_other(oracle: Any, folder: Path) -> None:
    """The class reads no videos: the same tokens come from several images without text between them."""
    model, _, _ = open_checkpoint(folder, edit=lambda plan: plan.model_copy(update={"scenes": {}}))
    clip = tools.film(2, 90, 160)
    ours = tools.our_logits(model, [[clip]])
    frames = anyres.next_processor()(
        anyres.pictures([clip]), return_tensors="pt", input_data_format="channels_last"
    )
    count = sum(span[0].cells for span in model.plan((90, 160), 2)[1] if not isinstance(span, str))
    with torch.no_grad():
        theirs = oracle(input_ids=tools.their_ids([count], tools.IMAGE), **frames).logits
    torch.testing.assert_close(ours, tools.at_after(theirs), atol=tools.TOLERANCE, rtol=0)


def test_of_footage_the_whole_view_of_each_frame_is_read(model: VideoLM) -> None:
    clip = tools.film(3, 90, 160)
    (read,) = model.read(model.see_views(model.cut(clip)))
    wholes = [model.read(model.see_views(model.cut(frame[None])))[0] for frame in clip]
    assert torch.equal(read.x, torch.cat([whole.x for whole in wholes], dim=1))  # type: ignore[union-attr]


def test_a_strip_that_leaves_transformers_no_map_leaves_us_its_middle(oracle: Any, model: VideoLM) -> None:
    strip = tools.film(1, 2, 200)
    spans = [span for span in model.plan((2, 200), 1)[1] if not isinstance(span, str)]
    assert [(span[0].h, span[0].w) for span in spans] == [(4, 4), (2, 9)]
    with pytest.raises(ValueError, match="do not match"):
        anyres.difference(oracle, model, [strip], given)
    assert tools.our_logits(model, [[strip]]).isfinite().all()


def _layer(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"towers": ({**blueprint.towers[0], "layer": -1},)})


def _bilinear(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"resolution": {**blueprint.resolution, "filter": "bilinear"}})


def _white(blueprint: Blueprint) -> Blueprint:
    resolution = {**blueprint.resolution, "colour": (255, 255, 255)}
    return blueprint.model_copy(update={"resolution": resolution})


@pytest.mark.parametrize("mistake", [_layer, _bilinear, _white])
def test_a_mistake_breaks_parity(
    oracle: Any, folder: Path, mistake: Callable[[Blueprint], Blueprint]
) -> None:
    wrong, _, _ = open_checkpoint(folder, edit=mistake)
    assert anyres.difference(oracle, wrong, [WIDE], given) > 100 * tools.TOLERANCE


def test_another_newline_or_order_of_tiles_breaks_parity(oracle: Any, folder: Path) -> None:
    wrong, _, _ = open_checkpoint(folder)
    with torch.no_grad():
        wrong.resolution.newline.zero_()
    assert anyres.difference(oracle, wrong, [WIDE], given) > 100 * tools.TOLERANCE
    swapped, _, _ = open_checkpoint(folder)
    cut = swapped.resolution.cut
    swapped.resolution.cut = (
        lambda pixels, plan: [  # type: ignore[method-assign]
            (views := cut(pixels, plan))[0],
            *views[:0:-1],
        ]
    )
    assert anyres.difference(oracle, swapped, [WIDE], given) > 100 * tools.TOLERANCE


def test_greedy_words_equal_transformers_in_a_batch_of_mixed_lengths(oracle: Any, model: VideoLM) -> None:
    rows = [([WIDE], [7, 8, 9]), ([SMALL, TALL], [11]), ([STRIP], [20, 21, 22, 23])]
    for (clips, words), ours in zip(rows, anyres.our_words(model, rows), strict=True):
        assert ours == anyres.Theirs(oracle, model, clips, given, words).write(32)
        assert len(set(ours)) > 3
