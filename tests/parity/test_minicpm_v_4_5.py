"""Our MiniCPM-V 4.5 gives the logits of the published rules, in float64 around transformers' Qwen3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import minicpm_v_reference as theirs
import pytest
import torch
from minicpm_v_reference import Mistakes, Reference
from parity_tools import TOLERANCE, film
from test_minicpm_v import ANSWER, QUESTION, SMALL, STILL, STILLS, group, our_logits
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import minicpm_v, open_checkpoint
from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.video_lm import VideoLM
from vidapt.video import Every

VIDEO, UNEVEN = [film(6, 60, 110)], [film(7, 90, 40, seed=3)]
CONVERSATIONS = {
    "image": STILL,
    "unsliced": SMALL,
    "images": STILLS,
    "video": VIDEO,
    "uneven": UNEVEN,
    "mixed": [*VIDEO, *STILL],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return theirs.write(tmp_path_factory.mktemp("minicpm") / "v-4_5", 4.5)


@pytest.fixture(scope="module")
def opened(folder: Path) -> tuple[VideoLM, Any]:
    model, tokenizer, report = open_checkpoint(folder)
    assert report.family == "minicpm_v_4_5"
    assert not report.ignored
    return model, tokenizer


@torch.no_grad()
def worst(opened: tuple[VideoLM, Any], reference: Reference, rows: list[list[Tensor]]) -> float:
    """Largest difference in what predicts the answer and its end; ours has the line break behind it, too."""
    apart = []
    for found, clips in zip(our_logits(opened, rows), rows, strict=True):
        expected = reference.logits(clips, QUESTION, ANSWER)
        assert len(found) == len(expected) + 1
        apart.append(float((found[:-1] - expected).abs().max()))
    return max(apart)


@pytest.mark.parametrize("clips", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_logits_are_the_equations(opened: Any, folder: Path, clips: list[Tensor]) -> None:
    assert worst(opened, Reference(folder), [clips]) < TOLERANCE


def test_rows_of_a_batch_are_the_equations_one_by_one(opened: Any, folder: Path) -> None:
    assert worst(opened, Reference(folder), list(CONVERSATIONS.values())) < TOLERANCE


@pytest.mark.parametrize(
    ("mistake", "clips"),
    [({"no_times": True}, VIDEO), ({"rows_first": True}, VIDEO), ({"no_norm": True}, SMALL)],
)
def test_a_mistake_would_show(
    opened: Any, folder: Path, mistake: dict[str, bool], clips: list[Tensor]
) -> None:
    assert worst(opened, Reference(folder, Mistakes(**mistake)), [clips]) > 10 * TOLERANCE


def test_greedy_words_are_those_of_the_equations(opened: Any, folder: Path) -> None:
    made, visual = group(opened, VIDEO, open_answer=True)
    ((answer,),) = generate(opened[0], [made], [visual], (), Decoding(max_new_tokens=32))
    assert list(answer.ids) == Reference(folder).generate(VIDEO, QUESTION, 32)


def test_frames_are_three_a_second_and_three_a_picture(opened: Any) -> None:
    model, _ = opened
    assert model.blueprint.frames == Every(rate=3.0, cap=540, at="midpoints")
    layout = model.plan((60, 110), 7)[1]
    text = "".join(piece if isinstance(piece, str) else "#" for piece in layout)
    assert text == "\n".join(["<image>#</image>"] * 3)


def test_another_version_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"4\.5 are supported"):
        minicpm_v.blueprint({**theirs.CONFIG, "version": 4.0}, folder)
