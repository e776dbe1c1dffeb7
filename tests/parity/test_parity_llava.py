"""Our LLaVA-1.5 gives transformers' logits, from real frames to the last layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyres_tools
import parity_tools as tools
import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, SiglipVisionConfig

from vidapt.hub import open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint


@pytest.fixture(scope="module")
def oracle() -> LlavaForConditionalGeneration:
    return tools.llava()


@pytest.fixture(scope="module")
def folder(oracle: LlavaForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tools.save(oracle, tmp_path_factory.mktemp("llava"))


@torch.no_grad()
def theirs(oracle: LlavaForConditionalGeneration, clips: list[Tensor], processor: Any = None) -> Tensor:
    ids = tools.their_ids([len(clip) * tools.CELLS**2 for clip in clips], tools.IMAGE)
    pixels = torch.cat([tools.their_pixels(clip, processor) for clip in clips])
    return tools.at_after(oracle(input_ids=ids, pixel_values=pixels).logits)


@pytest.mark.parametrize(
    "clips",
    [
        [tools.film(1, 90, 160)],
        [tools.film(1, 61, 47)],
        [tools.film(3, 40, 28)],
        [tools.film(1, 90, 160), tools.film(2, 33, 44, seed=1)],
    ],
    ids=["wide image", "tall image", "three frames", "two clips"],
)
def test_logits_equal_transformers(
    folder: Path, oracle: LlavaForConditionalGeneration, clips: list[Tensor]
) -> None:
    model, _, _ = open_checkpoint(folder)
    ours = tools.our_logits(model, [clips])
    same_pixels = theirs(oracle, [tools.cut(model, clip) for clip in clips])
    torch.testing.assert_close(ours, same_pixels, atol=tools.TOLERANCE, rtol=0)
    their_own = theirs(oracle, clips)
    assert (ours - their_own).abs().max() < tools.CLOSE * their_own.std()


def test_rows_of_a_batch_equal_transformers_one_by_one(
    folder: Path, oracle: LlavaForConditionalGeneration
) -> None:
    model, _, _ = open_checkpoint(folder)
    rows = [[tools.film(1, 50, 70)], [tools.film(2, 30, 30), tools.film(1, 90, 40)], [tools.film(3, 28, 28)]]
    expected = torch.cat([theirs(oracle, [tools.cut(model, clip) for clip in clips]) for clips in rows])
    torch.testing.assert_close(tools.our_logits(model, rows), expected, atol=tools.TOLERANCE, rtol=0)


def _last_layer(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"towers": ({**blueprint.towers[0], "layer": -1},)})


def _squashed(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"resolution": {"kind": "whole", "fit": "squash"}})


def _stretched(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"positions": {"kind": "rope1d", "factor": 2.0}})


@pytest.mark.parametrize("mistake", [_last_layer, _squashed, _stretched])
def test_a_mistake_breaks_parity(
    folder: Path, oracle: LlavaForConditionalGeneration, mistake: Callable[[Blueprint], Blueprint]
) -> None:
    model, _, _ = open_checkpoint(folder, edit=mistake)
    clips = [tools.film(2, 90, 160)]
    difference = (tools.our_logits(model, [clips]) - theirs(oracle, clips)).abs().max()
    assert difference > 100 * tools.TOLERANCE


def test_a_siglip_tower_is_read_in_full(tmp_path: Path) -> None:
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=tools.SIDE,
        patch_size=tools.SIDE // tools.CELLS,
    )
    oracle = tools.llava(vision_config=vision, vision_feature_select_strategy="full", vision_feature_layer=-1)
    half = [0.5, 0.5, 0.5]
    square = {"height": tools.SIDE, "width": tools.SIDE}
    settings = {"size": square, "do_center_crop": False, "image_mean": half, "image_std": half}
    oracle.save_pretrained(tmp_path)
    tools.add_processors(tmp_path, **settings)
    model, _, _ = open_checkpoint(tmp_path)
    assert model.blueprint.resolution["fit"] == "squash"
    clips = [tools.film(2, 90, 160)]
    expected = theirs(oracle, [tools.cut(model, clip) for clip in clips], tools.image_processor(**settings))
    torch.testing.assert_close(tools.our_logits(model, [clips]), expected, atol=tools.TOLERANCE, rtol=0)


def test_greedy_words_equal_transformers_in_a_batch_of_mixed_lengths(
    folder: Path, oracle: LlavaForConditionalGeneration
) -> None:
    model, _, _ = open_checkpoint(folder)
    wide, clip = tools.film(1, 90, 160), tools.film(3, 40, 28)
    rows = [([wide, clip], [7, 8, 9]), ([clip], [11]), ([wide], [20, 21, 22, 23])]
    written_in_all: set[int] = set()

    def given(model: VideoLM, clips: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"pixel_values": torch.cat([tools.their_pixels(tools.cut(model, clip)) for clip in clips])}

    for (clips, words), ours in zip(rows, anyres_tools.our_words(model, rows), strict=True):
        assert ours == anyres_tools.Theirs(oracle, model, clips, given, words).write(32)
        written_in_all |= set(ours)
    assert len(written_in_all) > 5, "one repeated word would prove little"
