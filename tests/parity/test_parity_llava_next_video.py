"""Our LLaVA-NeXT-Video gives transformers' logits and words for videos, stills, and both together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import parity_tools as tools
import pytest
import torch
from torch import Tensor
from transformers import LlavaNextVideoForConditionalGeneration

from vidapt.errors import CheckpointError
from vidapt.hub import llava_next_video, open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Features, Grid, Tokens
from vidapt.recipe import Blueprint

WIDE, TALL, SMALL, VIDEO, OTHER = anyres.WIDE, anyres.TALL, anyres.SMALL, anyres.VIDEO, anyres.OTHER
given = anyres.next_given


@pytest.fixture(scope="module")
def oracle() -> LlavaNextVideoForConditionalGeneration:
    return anyres.next_video_model()


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return anyres.save(oracle, anyres.next_processor(), tmp_path_factory.mktemp("next_video"))


@pytest.fixture(scope="module")
def model(folder: Path) -> VideoLM:
    return open_checkpoint(folder)[0]


@pytest.mark.parametrize(
    "clips",
    [[VIDEO], [VIDEO, OTHER], [WIDE], [TALL, SMALL], [WIDE, VIDEO], [VIDEO, TALL, OTHER]],
    ids=["video", "two videos", "still", "two stills", "still and video", "video, still, video"],
)
def test_logits_equal_transformers(oracle: Any, model: VideoLM, clips: list[Tensor]) -> None:
    assert anyres.difference(oracle, model, clips, given) < tools.TOLERANCE


def test_frames_are_prepared_as_the_image_processor_prepares_them(oracle: Any, model: VideoLM) -> None:
    """Up to the filter: it is the video processor's, which is torch's, not Pillow's."""
    clip = tools.film(8, 90, 160)
    ours = tools.our_logits(model, [[clip]])
    ids = tools.their_ids([8 * (tools.CELLS // 2) ** 2], tools.VIDEO)
    with torch.no_grad():
        theirs = oracle(input_ids=ids, pixel_values_videos=tools.their_pixels(clip)[None]).logits
    theirs = tools.at_after(theirs)
    assert (ours - theirs).abs().max() < tools.CLOSE * theirs.std()


def test_rows_of_a_mixed_batch_equal_transformers_one_by_one(oracle: Any, model: VideoLM) -> None:
    rows = [[VIDEO], [WIDE, TALL], [tools.film(2, 30, 30), tools.film(2, 90, 40)], [SMALL]]
    each = [anyres.Theirs(oracle, model, clips, given, tools.AFTER).logits() for clips in rows]
    torch.testing.assert_close(tools.our_logits(model, rows), torch.cat(each), atol=tools.TOLERANCE, rtol=0)


def _last_layer(blueprint: Blueprint) -> Blueprint:
    return blueprint.model_copy(update={"towers": ({**blueprint.towers[0], "layer": -1},)})


def _video(**changes: Any) -> Callable[[Blueprint], Blueprint]:
    return lambda b: b.model_copy(update={"scenes": {"video": {**b.scenes["video"], **changes}}})


@pytest.mark.parametrize(
    "mistake", [_last_layer, _video(order="connector_first"), _video(pool="max"), _video(fit="squash")]
)
def test_a_mistake_breaks_parity(
    folder: Path, oracle: Any, model: VideoLM, mistake: Callable[[Blueprint], Blueprint]
) -> None:
    theirs = anyres.Theirs(oracle, model, [VIDEO], given, tools.AFTER).logits()
    wrong, _, _ = open_checkpoint(folder, edit=mistake)
    assert (tools.our_logits(wrong, [[VIDEO]]) - theirs).abs().max() > 100 * tools.TOLERANCE


def test_greedy_words_equal_transformers_in_a_batch_of_mixed_lengths(oracle: Any, model: VideoLM) -> None:
    rows = [([WIDE, VIDEO], [7, 8, 9]), ([VIDEO], [11]), ([SMALL], [20, 21, 22, 23])]
    for (clips, words), ours in zip(rows, anyres.our_words(model, rows), strict=True):
        assert ours == anyres.Theirs(oracle, model, clips, given, words).write(32)
        assert len(set(ours)) > 3


@pytest.mark.parametrize("order", ["pool_first", "connector_first"])
@pytest.mark.parametrize("newline", ["none", "grid", "frame", "one"])
def test_the_authors_orders_and_newlines_by_their_equations(folder: Path, order: str, newline: str) -> None:
    """In float64: average of 2 x 2 cells before or behind the projector, and where the newline goes."""
    wrong, _, _ = open_checkpoint(folder, edit=_video(order=order, newline=newline))
    model = wrong.double()
    seen = model.see_views(model.cut(VIDEO))
    cells = seen.features[0].x[0]
    linear_1, _, linear_2 = model.connector.mlp

    def project(x: Tensor) -> Tensor:
        hidden = x @ linear_1.weight.T + linear_1.bias
        bent = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
        return bent @ linear_2.weight.T + linear_2.bias

    def pool(x: Tensor) -> Tensor:
        return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4

    small = project(pool(cells)) if order == "pool_first" else pool(project(cells))
    mark = model.resolution.newline[None]
    rows: list[Tensor] = []
    for frame in small:
        for row in frame:
            rows += [row, mark] if newline == "grid" else [row]
        rows += [mark] if newline == "frame" else []
    rows += [mark] if newline == "one" else []
    (read,) = model.read(seen)
    assert isinstance(read, Tokens)
    torch.testing.assert_close(read.x[0], torch.cat(rows), atol=1e-10, rtol=0)
    assert len(read.x[0]) == 5 * 4 + {"none": 0, "grid": 10, "frame": 5, "one": 1}[newline]
    assert isinstance(seen.features[0], Features)
    assert seen.features[0].grid == Grid(5, 4, 4)


@pytest.mark.parametrize(
    ("frames", "factor"), [(16, 1), (21, 1), (22, 2), (32, 2), (49, 2), (50, 3), (64, 3)]
)
def test_positions_are_scaled_by_the_authors_rule(frames: int, factor: int) -> None:
    """Of 144 tokens per frame: the smallest whole factor that leaves room for a thousand more."""
    assert llava_next_video.rope_factor(frames, 144) == factor


def test_more_frames_stretch_the_positions(folder: Path) -> None:
    """The tiny tower has 4 tokens per frame, so that 800 frames need factor 2."""

    def vicuna(blueprint: Blueprint) -> Blueprint:
        language = {**blueprint.language, "max_position_embeddings": 4096}
        plain = blueprint.model_copy(update={"language": language})
        assert llava_next_video.tokens_per_frame(plain) == 4
        return llava_next_video.with_frames(plain, 800)

    model, _, _ = open_checkpoint(folder, edit=vicuna)
    assert model.blueprint.frames.count == 800  # type: ignore[union-attr]
    ids, after = model.positions.ids([3, (Grid(2, 1, 2), 0)])
    assert ids.tolist() == [[0, 0.5, 1, 1.5, 2, 2.5, 3]]
    assert after == 3.5
    with pytest.raises(CheckpointError, match="512 positions"):
        open_checkpoint(folder, edit=lambda blueprint: llava_next_video.with_frames(blueprint, 32))
