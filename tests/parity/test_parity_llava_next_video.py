"""Our LLaVA-NeXT-Video gives transformers' logits for videos, and for an image as a clip of one frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import parity_tools as tools
import pytest
import torch
from torch import Tensor
from transformers import LlavaNextVideoForConditionalGeneration

from vidapt.hub import open_checkpoint
from vidapt.recipe import Blueprint


@pytest.fixture(scope="module")
def oracle() -> LlavaNextVideoForConditionalGeneration:
    return tools.next_video()


@pytest.fixture(scope="module")
def folder(oracle: LlavaNextVideoForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tools.save(oracle, tmp_path_factory.mktemp("next_video"))


@torch.no_grad()
def theirs(oracle: LlavaNextVideoForConditionalGeneration, clips: list[Tensor]) -> Tensor:
    ids = tools.their_ids([len(clip) * (tools.CELLS // 2) ** 2 for clip in clips], tools.VIDEO)
    pixels = torch.stack([tools.their_pixels(clip) for clip in clips])
    return tools.at_after(oracle(input_ids=ids, pixel_values_videos=pixels).logits)


@pytest.mark.parametrize(
    "clips",
    [
        [tools.film(8, 90, 160)],
        [tools.film(1, 61, 47)],
        [tools.film(5, 90, 160), tools.film(5, 33, 44, seed=1)],
    ],
    ids=["video", "image", "two videos"],
)
def test_logits_equal_transformers(
    folder: Path, oracle: LlavaNextVideoForConditionalGeneration, clips: list[Tensor]
) -> None:
    model, _, _ = open_checkpoint(folder)
    ours = tools.our_logits(model, [clips])
    same_pixels = theirs(oracle, [tools.cut(model, clip) for clip in clips])
    torch.testing.assert_close(ours, same_pixels, atol=tools.TOLERANCE, rtol=0)
    their_own = theirs(oracle, clips)
    assert (ours - their_own).abs().max() < tools.CLOSE * their_own.std()


def test_rows_of_a_batch_equal_transformers_one_by_one(
    folder: Path, oracle: LlavaNextVideoForConditionalGeneration
) -> None:
    model, _, _ = open_checkpoint(folder)
    rows = [[tools.film(6, 50, 70)], [tools.film(2, 30, 30), tools.film(2, 90, 40)], [tools.film(3, 28, 28)]]
    expected = torch.cat([theirs(oracle, [tools.cut(model, clip) for clip in clips]) for clips in rows])
    torch.testing.assert_close(tools.our_logits(model, rows), expected, atol=tools.TOLERANCE, rtol=0)


def _last_layer(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"towers": ({**blueprint.towers[0], "layer": -1},)})


def _mlp_first(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"connector": {**blueprint.connector, "order": "mlp_first"}})


@pytest.mark.parametrize("mistake", [_last_layer, _mlp_first])
def test_a_mistake_breaks_parity(
    folder: Path, oracle: LlavaNextVideoForConditionalGeneration, mistake: Callable[[Blueprint], Blueprint]
) -> None:
    model, _, _ = open_checkpoint(folder, edit=mistake)
    clips = [tools.film(8, 90, 160)]
    difference = (tools.our_logits(model, [clips]) - theirs(oracle, clips)).abs().max()
    assert difference > 100 * tools.TOLERANCE
