"""Our LLaVA-OneVision gives transformers' logits and words for a still, several stills, and videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import parity_tools as tools
import pytest
import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from vidapt.hub import open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint

WIDE, TALL, SMALL, STRIP, VIDEO, OTHER = (
    anyres.WIDE,
    anyres.TALL,
    anyres.SMALL,
    anyres.STRIP,
    anyres.VIDEO,
    anyres.OTHER,
)
given = anyres.onevision_given


@pytest.fixture(scope="module")
def oracle() -> LlavaOnevisionForConditionalGeneration:
    return anyres.onevision_model()


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return anyres.save(oracle, anyres.onevision_processor(), tmp_path_factory.mktemp("onevision"))


@pytest.fixture(scope="module")
def model(folder: Path) -> VideoLM:
    return open_checkpoint(folder)[0]


@pytest.mark.parametrize(
    "clips",
    [[WIDE], [TALL], [SMALL], [STRIP], [WIDE, TALL], [SMALL, STRIP, TALL], [VIDEO], [VIDEO, OTHER]],
    ids=["wide", "tall", "small", "strip", "two stills", "three stills", "video", "two videos"],
)
def test_logits_equal_transformers(oracle: Any, model: VideoLM, clips: list[Tensor]) -> None:
    assert anyres.difference(oracle, model, clips, given) < tools.TOLERANCE


def test_stills_and_a_video_in_one_conversation_equal_transformers(oracle: Any, model: VideoLM) -> None:
    assert anyres.difference(oracle, model, [WIDE, VIDEO, TALL], given) < tools.TOLERANCE


def test_rows_of_a_mixed_batch_equal_transformers_one_by_one(oracle: Any, model: VideoLM) -> None:
    rows = [[WIDE], [SMALL, TALL], [VIDEO], [STRIP]]
    each = [anyres.Theirs(oracle, model, clips, given, tools.AFTER).logits() for clips in rows]
    torch.testing.assert_close(tools.our_logits(model, rows), torch.cat(each), atol=tools.TOLERANCE, rtol=0)


def test_a_map_is_shrunk_by_the_published_limit_too(tmp_path: Path) -> None:
    oracle = anyres.onevision_model(limit=9)
    large = tools.film(1, 170, 170)
    model, _, _ = open_checkpoint(anyres.save(oracle, anyres.onevision_processor(), tmp_path))
    _, layout = model.plan((170, 170), 1)
    assert [span[0].h for span in layout if not isinstance(span, str)] == [7, 21]
    assert anyres.difference(oracle, model, [large], given) < tools.TOLERANCE


def _scene(name: str, **changes: Any) -> Callable[[Blueprint], Blueprint]:
    def edit(blueprint: Blueprint) -> Blueprint:
        scenes = {**blueprint.scenes, name: {**blueprint.scenes[name], **changes}}  # type: ignore[index]
        return blueprint.model_copy(update={"scenes": scenes})

    return edit


def _still(**changes: Any) -> Callable[[Blueprint], Blueprint]:
    return lambda blueprint: blueprint.model_copy(update={"resolution": {**blueprint.resolution, **changes}})


def _layer(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"towers": ({**blueprint.towers[0], "layer": -2},)})


@pytest.mark.parametrize(
    ("mistake", "clips"),
    [
        (_layer, [WIDE]),
        (_layer, [VIDEO]),
        (_still(filter="bilinear"), [WIDE]),
        (_scene("images", fit="squash"), [WIDE, TALL]),
        (_scene("images", colour=(0, 0, 0)), [WIDE, TALL]),
        (_scene("video", order="pool_first"), [VIDEO]),
    ],
    ids=["layer still", "layer video", "filter", "squash", "padding", "order"],
)
def test_a_mistake_breaks_parity(
    oracle: Any, folder: Path, mistake: Callable[[Blueprint], Blueprint], clips: list[Tensor]
) -> None:
    wrong, _, _ = open_checkpoint(folder, edit=mistake)
    assert anyres.difference(oracle, wrong, clips, given) > 100 * tools.TOLERANCE


@pytest.mark.parametrize(
    ("mistake", "clips"),
    [
        (_still(most_tiles=None), [WIDE]),
        (_scene("images", newline="none"), [WIDE, TALL]),
        (_scene("video", pool="average"), [VIDEO]),
        (_scene("video", newline="frame"), [VIDEO]),
    ],
    ids=["unshrunk", "no newline of stills", "average", "newline per frame"],
)
def test_a_wrong_count_is_refused_by_transformers(
    oracle: Any, folder: Path, mistake: Callable[[Blueprint], Blueprint], clips: list[Tensor]
) -> None:
    wrong, _, _ = open_checkpoint(folder, edit=mistake)
    with pytest.raises(ValueError, match="do not match"):
        anyres.difference(oracle, wrong, clips, given)


def test_greedy_words_equal_transformers_in_a_batch_of_mixed_lengths(oracle: Any, model: VideoLM) -> None:
    rows = [([WIDE], [7, 8, 9]), ([VIDEO], [11]), ([SMALL, TALL], [20, 21, 22, 23])]
    for (clips, words), ours in zip(rows, anyres.our_words(model, rows), strict=True):
        assert ours == anyres.Theirs(oracle, model, clips, given, words).write(32)
        assert len(set(ours)) > 3
