"""Our SmolVLM2 reads the original's ids and gives transformers' logits and words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import modern_tools as modern
import parity_tools as tools
import pytest
import smolvlm_tools as smolvlm
from smolvlm_tools import OTHER, STILL, TALL, VIDEO, WIDE
from torch import Tensor

from vidapt.hub import open_checkpoint
from vidapt.models.video_lm import VideoLM

CONVERSATIONS = {
    "still": [STILL],
    "stills": [WIDE, TALL, STILL],
    "video": [VIDEO],
    "long video": [OTHER],
    "mixed": [OTHER, TALL, WIDE],
}

Opened = tuple[Any, VideoLM, Any]


@pytest.fixture(scope="module")
def oracle() -> Any:
    return smolvlm.oracle_of()


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return smolvlm.save(oracle, tmp_path_factory.mktemp("smolvlm"))


@pytest.fixture
def opened(oracle: Any, folder: Path) -> Opened:
    model, tokenizer, _ = open_checkpoint(folder)
    return oracle, model, tokenizer


def difference(opened: Opened, rows: list[list[Tensor]]) -> float:
    oracle, model, tokenizer = opened
    return modern.difference(oracle, model, tokenizer, rows, smolvlm.read, smolvlm.slot_of(tokenizer))


@pytest.mark.parametrize("clips", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_ids_and_logits_equal_the_originals(opened: Opened, clips: list[Tensor]) -> None:
    assert difference(opened, [clips]) < tools.TOLERANCE


def test_rows_of_a_batch_equal_the_original_one_by_one(opened: Opened) -> None:
    assert difference(opened, list(CONVERSATIONS.values())) < tools.TOLERANCE


def test_greedy_words_equal_the_originals_in_a_batch_of_mixed_lengths(opened: Opened) -> None:
    oracle, model, tokenizer = opened
    rows = [CONVERSATIONS[name] for name in ("stills", "video", "mixed")]
    mine = [modern.ours(model, tokenizer, clips, smolvlm.slot_of(tokenizer)) for clips in rows]
    for clips, words in zip(rows, modern.our_words(model, mine), strict=True):
        assert words == smolvlm.read(model, tokenizer, clips).write(oracle)
        assert len(set(words)) > 3


def test_a_further_video_of_a_turn_differs_by_the_space_in_front_of_it(opened: Opened) -> None:
    """The original writes the space once a turn; here it belongs to the video, wherever it stands."""
    _, model, tokenizer = opened
    mine = modern.ours(model, tokenizer, [VIDEO, OTHER], smolvlm.slot_of(tokenizer)).ids
    theirs = smolvlm.read(model, tokenizer, [VIDEO, OTHER]).ids
    assert tokenizer.decode(mine).replace(" You", "You") == tokenizer.decode(theirs).replace(" You", "You")
    assert tokenizer.decode(mine).count(" You") == 2
    assert tokenizer.decode(theirs).count(" You") == 1


def test_a_question_without_clips_keeps_its_space(opened: Opened) -> None:
    _, model, tokenizer = opened
    assert (
        modern.ours(model, tokenizer, [], 0).ids
        == tokenizer(f"<|im_start|>User: {modern.QUESTION}<end_of_utterance>\nAssistant:").input_ids
    )


def _whole_first(model: VideoLM) -> None:
    right = model.resolution.cut

    def cut(pixels: Tensor, plan: Any) -> list[Tensor]:
        *tiles, whole = right(pixels, plan)
        return [whole, *tiles]

    model.resolution.cut = cut


def _swap_cells(model: VideoLM) -> None:
    right = model.connector.forward

    def forward(seen: Any) -> Any:
        blocks = seen.x.unflatten(3, (-1, 3)).unflatten(2, (-1, 3)).transpose(3, 5)
        return right(type(seen)(blocks.flatten(4, 5).flatten(2, 3)))

    model.connector.forward = forward


def _no_norm(model: VideoLM) -> None:
    model.tower.net.post_layernorm.forward = lambda x: x


@pytest.mark.parametrize(
    ("mistake", "clips"), [(_whole_first, [STILL]), (_swap_cells, [VIDEO]), (_no_norm, [VIDEO])]
)
def test_a_mistake_breaks_parity(
    opened: Opened, mistake: Callable[[VideoLM], None], clips: list[Tensor]
) -> None:
    mistake(opened[1])
    assert difference(opened, [clips]) > 100 * tools.TOLERANCE


@pytest.mark.parametrize("field", ["intro", "before", "after", "outro"])
def test_other_text_around_frames_is_other_ids(folder: Path, field: str) -> None:
    def edit(blueprint: Any) -> Any:
        times = blueprint.times["video"].model_copy(update={field: ""})
        return blueprint.model_copy(update={"times": {"video": times}})

    model, tokenizer, _ = open_checkpoint(folder, edit=edit)
    mine = modern.ours(model, tokenizer, [VIDEO], smolvlm.slot_of(tokenizer))
    assert mine.ids != smolvlm.read(model, tokenizer, [VIDEO]).ids
