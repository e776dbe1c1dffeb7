"""Our MiniCPM-V 4.6 reads the original's ids and gives transformers' logits and words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import minicpm_tools as minicpm
import modern_tools as modern
import parity_tools as tools
import pytest
from minicpm_tools import OTHER, STILL, TALL, VIDEO, WIDE
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import minicpm_v_4_6, open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.video import Every

CONVERSATIONS = {
    "still": [STILL],
    "stills": [WIDE, TALL, STILL],
    "video": [VIDEO],
    "mixed": [OTHER, TALL, VIDEO],
}

Opened = tuple[Any, VideoLM, Any]


@pytest.fixture(scope="module")
def oracle() -> Any:
    return minicpm.oracle_of()


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minicpm.save(oracle, tmp_path_factory.mktemp("minicpm"))


@pytest.fixture
def opened(oracle: Any, folder: Path) -> Opened:
    model, tokenizer, _ = open_checkpoint(folder)
    return oracle, model, tokenizer


def difference(opened: Opened, rows: list[list[Tensor]]) -> float:
    oracle, model, tokenizer = opened
    return modern.difference(oracle, model, tokenizer, rows, minicpm.read, minicpm.slot_of(tokenizer))


@pytest.mark.parametrize("clips", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_ids_and_logits_equal_the_originals(opened: Opened, clips: list[Tensor]) -> None:
    assert difference(opened, [clips]) < tools.TOLERANCE


def test_rows_of_a_batch_equal_the_original_one_by_one(opened: Opened) -> None:
    assert difference(opened, list(CONVERSATIONS.values())) < tools.TOLERANCE


def test_greedy_words_equal_the_originals_in_a_batch_of_mixed_lengths(opened: Opened) -> None:
    oracle, model, tokenizer = opened
    rows = [CONVERSATIONS[name] for name in ("stills", "video", "mixed")]
    mine = [modern.ours(model, tokenizer, clips, minicpm.slot_of(tokenizer)) for clips in rows]
    for clips, words in zip(rows, modern.our_words(model, mine), strict=True):
        assert words == minicpm.read(model, tokenizer, clips).write(oracle)
        assert len(set(words)) > 3


def test_a_video_is_written_as_by_the_originals_processor(opened: Opened) -> None:
    _, model, tokenizer = opened
    pad = minicpm.slot_of(tokenizer)
    mine = tokenizer.decode(modern.ours(model, tokenizer, [VIDEO], pad).ids)
    theirs = minicpm.video_text(VIDEO).replace("<|video_pad|>", "<|image_pad|>")
    assert f"<image_id>0</image_id>{theirs}{modern.QUESTION}" in mine


def test_four_times_as_many_tokens_where_the_configuration_says_so(tmp_path: Path) -> None:
    oracle = minicpm.oracle_of(downsample_mode="4x")
    model, tokenizer, _ = open_checkpoint(minicpm.save(oracle, tmp_path))
    assert difference((oracle, model, tokenizer), [[STILL], [OTHER]]) < tools.TOLERANCE


def test_frames_are_one_a_second(opened: Opened) -> None:
    assert opened[1].blueprint.frames == Every(rate=1.0, cap=16, at="endpoints", compat="published_seconds")


def _merge_later(model: VideoLM) -> None:
    model.tower.cfg = model.tower.cfg.model_copy(update={"merge_behind": 2})


def _slices_first(model: VideoLM) -> None:
    right = model.resolution.cut

    def cut(pixels: Tensor, plan: Any) -> list[Tensor]:
        whole, *cells = right(pixels, plan)
        return [whole, *cells[::-1]]

    model.resolution.cut = cut


def _swap_cells(model: VideoLM) -> None:
    right = model.connector.forward

    def forward(seen: Any) -> Any:
        blocks = seen.x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).transpose(3, 5)
        return right(type(seen)(blocks.flatten(4, 5).flatten(2, 3)))

    model.connector.forward = forward


@pytest.mark.parametrize("mistake", [_merge_later, _slices_first, _swap_cells])
def test_a_mistake_breaks_parity(opened: Opened, mistake: Callable[[VideoLM], None]) -> None:
    mistake(opened[1])
    assert difference(opened, [[STILL]]) > 100 * tools.TOLERANCE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merger_times": 2}, "merger_times is 2"),
        ({"downsample_mode": "8x"}, "downsample_mode is '8x'"),
        ({"drop_vision_last_layer": True}, "drop_vision_last_layer is True"),
        ({"vision_config": None}, "no `vision_config`"),
    ],
)
def test_what_no_part_offers_is_refused(
    oracle: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        minicpm_v_4_6.blueprint({**oracle.config.to_dict(), **changes}, tmp_path)
