"""Our InternVL reads the original's ids and gives transformers' logits and words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import internvl_tools as internvl
import modern_tools as modern
import parity_tools as tools
import pytest
from internvl_tools import OTHER, SMALL, STILL, TALL, VIDEO, WIDE
from torch import Tensor

from vidapt.hub import open_checkpoint
from vidapt.hub._internvl import PROMPTS
from vidapt.models.video_lm import VideoLM
from vidapt.video import Uniform

CONVERSATIONS = {
    "still": [STILL],
    "small still": [SMALL],
    "stills": [WIDE, TALL, SMALL],
    "video": [VIDEO],
    "mixed": [OTHER, WIDE, VIDEO],
}
LANGUAGES = ["qwen2", "qwen3"]

Opened = tuple[Any, VideoLM, Any]


@pytest.fixture(scope="module", params=LANGUAGES)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    oracle = internvl.oracle_of(request.param)
    return oracle, internvl.save(oracle, tmp_path_factory.mktemp(f"internvl_{request.param}"))


@pytest.fixture
def opened(published: tuple[Any, Path]) -> Opened:
    oracle, folder = published
    model, tokenizer, _ = open_checkpoint(folder)
    return oracle, model, tokenizer


def difference(opened: Opened, rows: list[list[Tensor]], read: modern.Read = internvl.read) -> float:
    oracle, model, tokenizer = opened
    return modern.difference(oracle, model, tokenizer, rows, read, internvl.slot_of(tokenizer))


@pytest.mark.parametrize("clips", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_ids_and_logits_equal_the_originals(opened: Opened, clips: list[Tensor]) -> None:
    assert difference(opened, [clips]) < tools.TOLERANCE


def test_rows_of_a_batch_equal_the_original_one_by_one(opened: Opened) -> None:
    assert difference(opened, list(CONVERSATIONS.values())) < tools.TOLERANCE


def test_greedy_words_equal_the_originals_in_a_batch_of_mixed_lengths(opened: Opened) -> None:
    oracle, model, tokenizer = opened
    rows = [CONVERSATIONS[name] for name in ("stills", "video", "mixed")]
    mine = [modern.ours(model, tokenizer, clips, internvl.slot_of(tokenizer)) for clips in rows]
    for clips, words in zip(rows, modern.our_words(model, mine), strict=True):
        assert words == internvl.read(model, tokenizer, clips).write(oracle)
        assert len(set(words)) > 3


@pytest.mark.parametrize(
    "vision", [{}, {"use_qk_norm": True, "norm_type": "rms_norm", "attention_bias": False}]
)
def test_the_authors_files_are_the_same_model(vision: dict[str, Any], tmp_path: Path) -> None:
    oracle = internvl.oracle_of(vision=vision)
    model, tokenizer, report = open_checkpoint(internvl.save_authors(oracle, tmp_path))
    assert report.family == "internvl"
    assert model.blueprint.frames == Uniform(count=8, at="midpoints", pad=False)  # one of a still
    read = partial(internvl.read, before=PROMPTS["internvl2_5"].start + "\n")
    assert difference((oracle, model, tokenizer), list(CONVERSATIONS.values()), read) < tools.TOLERANCE


def test_an_inner_layer_is_read_where_the_configuration_says_so(tmp_path: Path) -> None:
    oracle = internvl.oracle_of(vision_feature_layer=-2)
    model, tokenizer, _ = open_checkpoint(internvl.save(oracle, tmp_path))
    assert difference((oracle, model, tokenizer), [[STILL], [VIDEO]]) < tools.TOLERANCE


def _whole_first(model: VideoLM) -> None:
    right = model.resolution.cut

    def cut(pixels: Tensor, plan: Any) -> list[Tensor]:
        *tiles, whole = right(pixels, plan)
        return [whole, *tiles]

    model.resolution.cut = cut


def _columns_first(model: VideoLM) -> None:
    right = model.resolution.cut

    def cut(pixels: Tensor, plan: Any) -> list[Tensor]:
        *tiles, whole = right(pixels, plan)
        rows, columns = model.resolution.grid(plan.size)
        return [*(tiles[row * columns + column] for column in range(columns) for row in range(rows)), whole]

    model.resolution.cut = cut


def _swap_cells(model: VideoLM) -> None:
    right = model.connector.forward

    def forward(seen: Any) -> Any:
        blocks = seen.x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).transpose(3, 5)
        return right(type(seen)(blocks.flatten(4, 5).flatten(2, 3)))

    model.connector.forward = forward


def _another_layer(model: VideoLM) -> None:
    model.tower._layers -= 1


@pytest.mark.parametrize(
    ("mistake", "clips"),
    [
        (_whole_first, [STILL]),
        (_columns_first, [STILL]),
        (_swap_cells, [SMALL]),
        (_another_layer, [VIDEO]),
    ],
)
def test_a_mistake_breaks_parity(
    opened: Opened, mistake: Callable[[VideoLM], None], clips: list[Tensor]
) -> None:
    mistake(opened[1])
    assert difference(opened, [clips]) > 100 * tools.TOLERANCE


@pytest.mark.parametrize("scene", ["image", "video"])
def test_other_text_around_frames_is_other_ids(published: tuple[Any, Path], scene: Any) -> None:
    _, folder = published

    def edit(blueprint: Any) -> Any:
        return blueprint.model_copy(
            update={"times": {k: v for k, v in blueprint.times.items() if k != scene}}
        )

    model, tokenizer, _ = open_checkpoint(folder, edit=edit)
    mine = modern.ours(model, tokenizer, [VIDEO if scene == "video" else STILL], internvl.slot_of(tokenizer))
    clips = [VIDEO if scene == "video" else STILL]
    assert mine.ids != internvl.read(model, tokenizer, clips).ids
