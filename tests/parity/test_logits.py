"""`logits` gives what the original gives, at every position of a conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyres_tools as anyres
import parity_tools as tools
import pytest
import qwen2_vl_tools as qwen
import torch
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.hub import open_checkpoint
from vidapt.models.packed import Group, pack
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM

CLIP = -200
"""LLaVA's own mark; any negative id will do."""

STILL, OTHER = tools.film(1, 28, 28), tools.film(1, 28, 28, seed=1)
FILM = tools.film(5, 40, 24, seed=2)


def marked(clips: list[Tensor], mark: int = CLIP) -> list[int]:
    ids = [*tools.BEFORE]
    for index in range(len(clips)):
        ids += ([*tools.BETWEEN] if index else []) + [mark]
    return ids + tools.AFTER


@torch.no_grad()
def ours(model: VideoLM, clips: list[Tensor], **options: Any) -> Tensor:
    return model.logits(marked(clips), clips, **options)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, VideoLM]:
    oracle = tools.llava()
    return oracle, open_checkpoint(tools.save(oracle, tmp_path_factory.mktemp("llava")))[0]


@pytest.mark.parametrize("clips", [[STILL], [STILL, OTHER]], ids=["one", "two"])
def test_they_are_llavas(llava: tuple[Any, VideoLM], clips: list[Tensor]) -> None:
    oracle, model = llava
    ids = tools.their_ids([tools.CELLS**2] * len(clips), tools.IMAGE)
    pixels = torch.cat([tools.their_pixels(clip) for clip in clips])
    with torch.no_grad():
        theirs = oracle(input_ids=ids, pixel_values=pixels).logits[0]
    found = ours(model, clips)
    assert found.shape == theirs.shape
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, theirs, atol=tools.TOLERANCE, rtol=0)
    assert (theirs[1:] - theirs[:-1]).abs().max() > 100 * tools.TOLERANCE


def test_they_are_the_language_models_without_clips(llava: tuple[Any, VideoLM]) -> None:
    oracle, model = llava
    with torch.no_grad():
        theirs = oracle(input_ids=torch.tensor([tools.AFTER])).logits[0]
        found = model.logits(torch.tensor(tools.AFTER))
    torch.testing.assert_close(found, theirs, atol=tools.TOLERANCE, rtol=0)


@pytest.mark.parametrize("clips", [[anyres.WIDE], [anyres.SMALL, anyres.TALL]], ids=["one", "two"])
def test_they_are_llava_nexts_with_tiles_and_newlines(tmp_path: Path, clips: list[Tensor]) -> None:
    oracle = anyres.next_model()
    model, _, _ = open_checkpoint(anyres.save(oracle, anyres.next_processor(), tmp_path))
    theirs = anyres.Theirs(oracle, model, clips, anyres.next_given, tools.AFTER)
    with torch.no_grad():
        expected = oracle(input_ids=theirs.ids, **theirs.given).logits[0]
    torch.testing.assert_close(ours(model, clips), expected, atol=tools.TOLERANCE, rtol=0)


@pytest.mark.parametrize("clips", [[qwen.VIDEO], [qwen.LONG, qwen.STILL]], ids=["video", "video and still"])
def test_they_are_qwen2_vls_with_positions_on_three_axes(tmp_path: Path, clips: list[Tensor]) -> None:
    oracle = qwen.oracle_of()
    model, _, _ = open_checkpoint(qwen.save(oracle, tmp_path))
    expected = qwen.Theirs(oracle, model, clips, tools.AFTER).logits()[0]
    torch.testing.assert_close(ours(model, clips), expected, atol=tools.TOLERANCE, rtol=0)


def test_they_are_those_of_labels_where_labels_are(llava: tuple[Any, VideoLM]) -> None:
    _, model = llava
    (reading,), visual = tools.visual_tokens(model, [FILM])
    encoded = Encoded((tuple(tools.BEFORE), 0), tuple(tools.AFTER), (True,) * len(tools.AFTER))
    with torch.no_grad():
        labelled = model(pack([Group((encoded,), (reading,))], model.positions), visual)
    found = ours(model, [FILM])[-len(tools.AFTER) - 1 : -1]
    torch.testing.assert_close(found, labelled, atol=1e-5, rtol=0)


def test_they_have_gradients(llava: tuple[Any, VideoLM]) -> None:
    _, model = llava
    model.zero_grad()
    model.logits(marked([FILM]), [FILM]).square().mean().backward()
    for part in (model.connector.mlp[0], model.language.model.layers[0].self_attn.q_proj):
        assert part.weight.grad.abs().max() > 0
    model.zero_grad()


@pytest.mark.parametrize(
    ("ids", "clips"), [([1, CLIP], []), ([1, 2], [STILL]), ([CLIP, 1, CLIP], [STILL]), ([], [])]
)
def test_marks_and_clips_must_agree(llava: tuple[Any, VideoLM], ids: list[int], clips: list[Tensor]) -> None:
    with pytest.raises(ConfigError, match=f"{len(clips)} negative ids are needed"):
        llava[1].logits(ids, clips)
