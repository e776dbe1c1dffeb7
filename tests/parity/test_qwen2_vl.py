"""Our Qwen2-VL gives transformers' logits and words, when transformers is told the paper's positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import torch
from qwen2_vl_tools import (
    LIMITS,
    LONG,
    OTHER,
    STILL,
    TALL,
    VIDEO,
    P,
    Theirs,
    expected,
    oracle_of,
    save,
)
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vidapt.hub import open_checkpoint
from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import Group, pack
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM
from vidapt.video import Every, frame_indices

CONVERSATIONS = {
    "image": [STILL],
    "several images": [STILL, OTHER, TALL],
    "video": [VIDEO],
    "long video": [LONG],
    "image and videos": [LONG, STILL, VIDEO],
}


@pytest.fixture(scope="module")
def oracle() -> Qwen2VLForConditionalGeneration:
    return oracle_of()


@pytest.fixture(scope="module")
def folder(oracle: Qwen2VLForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(oracle, tmp_path_factory.mktemp("qwen2_vl"))


@pytest.fixture
def model(folder: Path) -> VideoLM:
    return open_checkpoint(folder)[0]


def test_frames_are_chosen_as_by_the_released_utilities(model: VideoLM) -> None:
    """tests/unit/test_video_published.py compares the rule; here it is the opened model's."""
    policy = model.blueprint.frames
    assert policy == Every(rate=2.0, cap=768, at="endpoints", least=4, compat="published")
    assert frame_indices(policy, frames=165, fps=30.0) == (0, 18, 36, 55, 73, 91, 109, 128, 146, 164)


@pytest.mark.parametrize("clips", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_logits_equal_transformers(oracle: Any, model: VideoLM, clips: list[Tensor]) -> None:
    theirs = expected(oracle, model, [clips])
    assert theirs.std() > 0.1
    torch.testing.assert_close(tools.our_logits(model, [clips]), theirs, atol=tools.TOLERANCE, rtol=0)


def test_rows_of_a_batch_equal_transformers_one_by_one(oracle: Any, model: VideoLM) -> None:
    rows = list(CONVERSATIONS.values())
    theirs = expected(oracle, model, rows)
    torch.testing.assert_close(tools.our_logits(model, rows), theirs, atol=tools.TOLERANCE, rtol=0)


def test_a_still_is_prepared_and_read_as_by_the_originals_processor(oracle: Any, model: VideoLM) -> None:
    processor = Qwen2VLImageProcessorPil(patch_size=P, size=LIMITS)
    conversation = Theirs(oracle, model, [OTHER], tools.AFTER)
    made = processor(OTHER[0].numpy(), return_tensors="pt", input_data_format="channels_last")
    assert torch.equal(made["image_grid_thw"], conversation.given["image_grid_thw"])
    torch.testing.assert_close(made["pixel_values"], conversation.given["pixel_values"], atol=1e-5, rtol=0)
    conversation.given = dict(made)
    theirs = tools.at_after(conversation.logits())
    torch.testing.assert_close(tools.our_logits(model, [[OTHER]]), theirs, atol=tools.TOLERANCE, rtol=0)


def test_questions_behind_one_clip_do_not_see_each_other(model: VideoLM) -> None:
    (reading,), visual = tools.visual_tokens(model, [LONG])
    texts = [(9, 10, 11), (20, 21, 22, 23), (30, 31)]
    encoded = [Encoded((tuple(tools.BEFORE), 0), ids, (True,) * len(ids)) for ids in texts]
    with torch.no_grad():
        together = model(pack([Group(tuple(encoded), (reading,))], model.positions), visual)
        alone = [model(pack([Group((one,), (reading,))], model.positions), visual) for one in encoded]
    torch.testing.assert_close(together, torch.cat(alone), atol=tools.TOLERANCE, rtol=0)


class _Swapped:
    """Positions with rows and columns exchanged."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def ids(self, spans: Any, start: float = 0) -> tuple[Tensor, float]:
        ids, after = self._part.ids(spans, start)
        return ids[[0, 2, 1]], after


def _swap_positions(model: VideoLM) -> None:
    model.positions = _Swapped(model.positions)


def _merge_down_first(model: VideoLM) -> None:
    def other_order(mlp: Any, given: tuple[Tensor]) -> Tensor:
        return given[0].unflatten(-1, (2, 2, -1)).transpose(-3, -2).flatten(-3)

    model.connector.mlp.register_forward_pre_hook(other_order)


def _no_duplicate(model: VideoLM) -> None:
    right = model.tower._see

    def see(slices: Tensor, grid: Any) -> Tensor:
        lone = torch.cat([slices[:, :1], torch.zeros_like(slices[:, 1:])], dim=1)
        return right(lone, grid)

    model.tower._see = see


def _compat(model: VideoLM) -> None:
    model.positions = type(model.positions)(model.positions.Config(compat="published"))


@pytest.mark.parametrize(
    ("mistake", "clips"),
    [
        (_swap_positions, [STILL]),
        (_merge_down_first, [STILL]),
        (_no_duplicate, [STILL]),
        (_compat, [LONG]),
    ],
)
def test_a_mistake_breaks_parity(
    oracle: Any, model: VideoLM, mistake: Callable[[VideoLM], None], clips: list[Tensor]
) -> None:
    theirs = expected(oracle, model, [clips])
    mistake(model)
    assert (tools.our_logits(model, [clips]) - theirs).abs().max() > 100 * tools.TOLERANCE


@pytest.mark.parametrize("clips", [[LONG], [STILL, VIDEO]], ids=["long video", "image and video"])
def test_compat_gives_what_transformers_computes_by_itself(
    oracle: Any, model: VideoLM, clips: list[Tensor]
) -> None:
    _compat(model)
    conversation = Theirs(oracle, model, clips, tools.AFTER)
    with torch.no_grad():
        theirs = oracle(
            input_ids=torch.tensor([conversation.ids]),
            mm_token_type_ids=torch.tensor([conversation.kinds]),
            **conversation.given,
        ).logits
    ours = tools.our_logits(model, [clips])
    torch.testing.assert_close(ours, tools.at_after(theirs), atol=tools.TOLERANCE, rtol=0)


def test_greedy_words_equal_transformers_in_a_batch_of_mixed_lengths(oracle: Any, model: VideoLM) -> None:
    rows = [([LONG, STILL], [7, 8, 9]), ([VIDEO], [11]), ([OTHER], [20, 21, 22, 23, 24])]
    groups, visual = [], []
    for clips, words in rows:
        readings, tokens = tools.visual_tokens(model, clips)
        prefix: list[Any] = [tuple(tools.BEFORE), 0]
        for index in range(1, len(clips)):
            prefix += [tuple(tools.BETWEEN), index]
        groups.append(Group((Encoded(tuple(prefix), tuple(words), (False,) * len(words)),), tuple(readings)))
        visual.append(tokens)
    answers = generate(model, groups, visual, (), Decoding(max_new_tokens=32))
    for (clips, words), (answer,) in zip(rows, answers, strict=True):
        assert list(answer.ids) == Theirs(oracle, model, clips, words).write(32)
        assert len(set(answer.ids)) > 3
