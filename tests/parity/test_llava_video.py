"""Our LLaVA-Video reads what the authors' code writes, and gives the logits of the equations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import llava_video_tools as video
import modern_tools as modern
import parity_tools as tools
import pytest
from torch import Tensor

from vidapt.hub import open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.video import Every, Uniform

CONVERSATIONS = {
    "still": [anyres.WIDE],
    "stills": [anyres.WIDE, anyres.SMALL],
    "video": [anyres.VIDEO],
    "videos": [anyres.VIDEO, anyres.OTHER],
    "mixed": [anyres.VIDEO, anyres.TALL, anyres.SMALL],
}

Opened = tuple[Any, VideoLM, Any]


@pytest.fixture(scope="module")
def oracle() -> Any:
    return video.oracle_of()


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video.save(oracle, tmp_path_factory.mktemp("llava_video") / "released")


@pytest.fixture
def opened(oracle: Any, folder: Path) -> Opened:
    model, tokenizer, report = open_checkpoint(folder)
    assert report.family == "llava_video"
    return oracle, model, tokenizer


def difference(opened: Opened, rows: list[list[Tensor]]) -> float:
    oracle, model, tokenizer = opened
    read = partial(video.read, oracle)
    return modern.difference(oracle, model, tokenizer, rows, read, video.slot_of(tokenizer))


@pytest.mark.parametrize("clips", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_ids_and_logits_equal_the_equations(opened: Opened, clips: list[Tensor]) -> None:
    assert difference(opened, [clips]) < tools.TOLERANCE


def test_rows_of_a_batch_equal_the_equations_one_by_one(opened: Opened) -> None:
    assert difference(opened, list(CONVERSATIONS.values())) < tools.TOLERANCE


def test_greedy_words_are_those_of_the_language_model(opened: Opened) -> None:
    oracle, model, tokenizer = opened
    rows = [CONVERSATIONS[name] for name in ("video", "mixed")]
    mine = [modern.ours(model, tokenizer, clips, video.slot_of(tokenizer)) for clips in rows]
    for clips, words in zip(rows, modern.our_words(model, mine), strict=True):
        assert words == video.read(oracle, model, tokenizer, clips).write(oracle)
        assert len(set(words)) > 3


def test_a_line_break_behind_a_mark_is_not_doubled(opened: Opened) -> None:
    _, model, tokenizer = opened
    clip = [anyres.VIDEO]
    plain = modern.ours(model, tokenizer, clip, 0)
    # Labels write `<video>` and a line break in front of a question.
    assert modern.ours(model, tokenizer, clip, 0, f"\n{modern.QUESTION}").ids == plain.ids


def test_frames_are_the_authors(opened: Opened, oracle: Any, tmp_path: Path) -> None:
    assert opened[1].blueprint.frames == Uniform(count=64, at="endpoints", pad=False)
    model, _, _ = open_checkpoint(video.save(oracle, tmp_path / "b", force_sample=False))
    assert model.blueprint.frames == Every(rate=1.0, cap=64, at="endpoints")


def test_without_the_sentence_it_is_read_like_llava_onevision(oracle: Any, tmp_path: Path) -> None:
    model, tokenizer, report = open_checkpoint(video.save(oracle, tmp_path / "b", add_time_instruction=False))
    assert report.family == "llava_video"
    text = tokenizer.decode(modern.ours(model, tokenizer, [anyres.VIDEO], 0).ids)
    assert "The video lasts" not in text
    assert f"\n{modern.QUESTION}" in text


def test_pooling_first_breaks_parity(opened: Opened) -> None:
    scene = opened[1].resolution_for(5)
    scene.cfg = scene.cfg.model_copy(update={"order": "pool_first"})
    assert difference(opened, [[anyres.VIDEO]]) > 100 * tools.TOLERANCE


def test_another_place_of_the_newline_is_another_length(opened: Opened) -> None:
    oracle, model, tokenizer = opened
    scene = model.resolution_for(5)
    scene.cfg = scene.cfg.model_copy(update={"newline": "frame"})
    mine = modern.ours(model, tokenizer, [anyres.VIDEO], video.slot_of(tokenizer))
    assert len(mine.ids) != len(video.read(oracle, model, tokenizer, [anyres.VIDEO]).ids)
