"""Qwen2.5-VL, Qwen3-VL and Qwen3.5 give transformers' logits, positions and words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import qwen_tools as qwen
import torch
from torch import Tensor

from vidapt.hub import _qwen, open_checkpoint
from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import Group, pack, prefix_layout
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Features
from vidapt.recipe import Blueprint, TimeText


@pytest.fixture(scope="module", params=qwen.MAKERS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def oracle(family: str) -> Any:
    return qwen.oracle_of(family)


@pytest.fixture(scope="module")
def folder(family: str, oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen.save(family, oracle, tmp_path_factory.mktemp(family))


def as_published(model: VideoLM) -> VideoLM:
    """Behind a clip the originals count on by its height or width alone."""
    fields = {**model.positions.cfg.model_dump(), "compat": "published"}
    model.positions = type(model.positions)(model.positions.Config(**fields))
    return model


@pytest.fixture
def model(folder: Path) -> VideoLM:
    return as_published(open_checkpoint(folder)[0])


@pytest.mark.parametrize("clips", qwen.CONVERSATIONS.values(), ids=qwen.CONVERSATIONS.keys())
def test_logits_equal_transformers(family: str, oracle: Any, model: VideoLM, clips: list[Tensor]) -> None:
    theirs = qwen.expected(family, oracle, model, [clips])
    assert theirs.std() > 0.5
    torch.testing.assert_close(qwen.ours(model, [clips]), theirs, atol=tools.TOLERANCE, rtol=0)


def test_rows_of_a_batch_equal_transformers_one_by_one(family: str, oracle: Any, model: VideoLM) -> None:
    rows = list(qwen.CONVERSATIONS.values())
    theirs = qwen.expected(family, oracle, model, rows)
    torch.testing.assert_close(qwen.ours(model, rows), theirs, atol=tools.TOLERANCE, rtol=0)


@pytest.mark.parametrize("clips", qwen.CONVERSATIONS.values(), ids=qwen.CONVERSATIONS.keys())
def test_tokens_and_positions_equal_transformers(
    family: str, oracle: Any, model: VideoLM, clips: list[Tensor]
) -> None:
    theirs = qwen.Theirs(family, oracle, model, clips, ())
    readings, _ = qwen.read(model, clips)
    (encoded,) = qwen.group(readings, (), False).encoded
    ids, slots, spans = prefix_layout(encoded.prefix, readings)
    assert torch.equal(model.positions.ids(spans)[0], theirs.positions())
    assert slots == [kind > 0 for kind in theirs.kinds]
    assert [i for i, slot in zip(ids, slots, strict=True) if not slot] == [
        i for i, kind in zip(theirs.ids, theirs.kinds, strict=True) if not kind
    ]


def test_positions_as_trained_are_those_of_transformers_where_clips_are_wide(
    family: str, oracle: Any, folder: Path
) -> None:
    model = open_checkpoint(folder)[0]
    clips = [qwen.STILL, qwen.CLIP] if family == "qwen2_5_vl" else [qwen.LONG, qwen.STILL]
    theirs = qwen.expected(family, oracle, model, [clips])
    torch.testing.assert_close(qwen.ours(model, [clips]), theirs, atol=tools.TOLERANCE, rtol=0)


def test_greedy_words_equal_transformers_in_a_batch_of_mixed_lengths(
    family: str, oracle: Any, model: VideoLM
) -> None:
    rows = [
        ([qwen.LONG, qwen.STILL], [7, 8, 9]),
        ([qwen.CLIP], [11]),
        ([qwen.OTHER], [20, 21, 22, 23, 24]),
    ]
    groups, visual = [], []
    for clips, words in rows:
        readings, tokens = qwen.read(model, clips)
        groups.append(qwen.group(readings, words, False))
        visual.append(tokens)
    answers = generate(model, groups, visual, (), Decoding(max_new_tokens=32))
    for (clips, words), (answer,) in zip(rows, answers, strict=True):
        written = qwen.Theirs(family, oracle, model, clips, words).write(32)
        assert list(answer.ids) == written
        assert len(written) == 32
        assert len(set(written)) > 3


def test_questions_behind_one_clip_do_not_see_each_other(model: VideoLM) -> None:
    readings, visual = qwen.read(model, [qwen.CLIP])
    texts = [(9, 10, 11), (20, 21, 22, 23), (30, 31)]
    each = [qwen.group(readings, ids, True) for ids in texts]
    shared = Group(tuple(one.encoded[0] for one in each), each[0].clips)
    with torch.no_grad():
        together = model(pack([shared], model.positions), visual)
        alone = [model(pack([one], model.positions), visual) for one in each]
    torch.testing.assert_close(together, torch.cat(alone), atol=tools.TOLERANCE, rtol=0)


# --- mistakes --------------------------------------------------------------------------------------------


def _merge_down_first(model: VideoLM) -> None:
    right = model.connect

    def turned(x: Tensor) -> Tensor:
        """Every block of 2 x 2 cells with its rows for columns."""
        n, t, h, w, c = x.shape
        return x.reshape(n, t, h // 2, 2, w // 2, 2, c).transpose(3, 5).reshape(x.shape)

    def connect(*features: Features, moments: Any = ()) -> Any:
        seen = [Features(turned(one.x), None, tuple(map(turned, one.levels))) for one in features]
        return right(*seen, moments=moments)

    model.connect = connect  # type: ignore[method-assign]


def _swap_positions(model: VideoLM) -> None:
    right = model.positions.ids

    def ids(spans: Any, start: float = 0) -> tuple[Tensor, float]:
        found, after = right(spans, start)
        return found[[0, 2, 1]], after

    model.positions.ids = ids


def _no_absolute_time(model: VideoLM) -> None:
    model.positions = type(model.positions)(model.positions.Config(compat="published"))


def _larger_windows(model: VideoLM) -> None:
    model.tower.window *= 2


def _chunked(model: VideoLM) -> None:
    rotary = model.language.base_model.rotary_emb
    sections = rotary.mrope_section

    def chunked(freq: Tensor) -> Tensor:
        parts = [piece[axis] for axis, piece in enumerate(freq.split(sections, dim=-1))]
        return torch.cat([*parts, *parts], dim=-1)

    rotary.recomposition_frequencies = chunked


def _deep_turned_round(model: VideoLM) -> None:
    right = model.connector.forward

    def forward(*features: Any) -> Any:
        tokens = right(*features)
        return type(tokens)(tokens.x, tokens.grid, tokens.extra, tokens.deep[::-1])

    model.connector.forward = forward


def _levels_turned_round(model: VideoLM) -> None:
    right = model.tower._through
    model.tower._through = lambda *given: (lambda x, *levels: (x, *levels[::-1]))(*right(*given))


def _nothing_deeper(model: VideoLM) -> None:
    right = model.connector.forward

    def forward(*features: Any) -> Any:
        tokens = right(*features)
        return type(tokens)(tokens.x, tokens.grid, tokens.extra, tuple(d * 0 for d in tokens.deep))

    model.connector.forward = forward


MISTAKES: dict[str, list[tuple[Callable[[VideoLM], None], list[Tensor]]]] = {
    "qwen2_5_vl": [
        (_merge_down_first, [qwen.STILL]),
        (_swap_positions, [qwen.STILL]),
        (_larger_windows, [qwen.STILL]),
        (_no_absolute_time, [qwen.LONG]),
    ],
    "qwen3_vl": [
        (_merge_down_first, [qwen.STILL]),
        (_swap_positions, [qwen.STILL]),
        (_chunked, [qwen.STILL]),
        (_deep_turned_round, [qwen.STILL]),
        (_levels_turned_round, [qwen.CLIP]),
        (_nothing_deeper, [qwen.CLIP]),
    ],
    "qwen3_5": [
        (_merge_down_first, [qwen.STILL]),
        (_swap_positions, [qwen.STILL]),
        (_chunked, [qwen.STILL]),
    ],
}


@pytest.mark.parametrize(
    ("family", "mistake", "clips"),
    [(family, *case) for family, cases in MISTAKES.items() for case in cases],
    indirect=["family"],
)
def test_a_mistake_breaks_parity(
    family: str, oracle: Any, model: VideoLM, mistake: Callable[[VideoLM], None], clips: list[Tensor]
) -> None:
    theirs = qwen.expected(family, oracle, model, [clips])
    mistake(model)
    assert (qwen.ours(model, [clips]) - theirs).abs().max() > 100 * tools.TOLERANCE


# --- times -----------------------------------------------------------------------------------------------

TIMED = ["qwen3_vl", "qwen3_5"]


def edited(**changes: Any) -> Callable[[Blueprint], Blueprint]:
    def edit(blueprint: Blueprint) -> Blueprint:
        video = blueprint.times["video"].model_copy(update=changes)
        return blueprint.model_copy(update={"times": {**blueprint.times, "video": video}})

    return edit


@pytest.mark.parametrize(
    "changes",
    [
        {"moment": "first"},
        {"before": "<|vision_start|>"},
        {"before": "<|vision_start|><{seconds:.1f} seconds>"},
    ],
    ids=["first frame's time", "no time", "time behind the mark"],
)
@pytest.mark.parametrize("family", TIMED, indirect=True)
def test_other_times_break_parity(
    family: str, oracle: Any, folder: Path, model: VideoLM, changes: dict[str, str]
) -> None:
    theirs = qwen.expected(family, oracle, model, [[qwen.CLIP]])
    wrong, _, _ = open_checkpoint(folder, edit=edited(**changes))
    assert (qwen.ours(wrong, [[qwen.CLIP]]) - theirs).abs().max() > 100 * tools.TOLERANCE


@pytest.mark.parametrize("family", TIMED, indirect=True)
def test_videos_are_also_spelled_as_before_5_10(
    family: str, oracle: Any, folder: Path, model: VideoLM
) -> None:
    def before(blueprint: Blueprint) -> Blueprint:
        return blueprint.model_copy(update={"times": _qwen.TIMES_3_BEFORE})

    older, _, _ = open_checkpoint(folder, edit=before)
    clips = [qwen.LONG, qwen.STILL]
    conversation = qwen.Theirs(family, oracle, model, clips, tools.AFTER, marks=False)
    theirs = tools.at_after(conversation.logits())
    torch.testing.assert_close(qwen.ours(older, [clips]), theirs, atol=tools.TOLERANCE, rtol=0)
    assert (qwen.ours(model, [clips]) - theirs).abs().max() > 100 * tools.TOLERANCE


@pytest.mark.parametrize("family", TIMED, indirect=True)
def test_marks_and_times_are_those_of_the_released_processor(model: VideoLM) -> None:
    start, end = "<|vision_start|>", "<|vision_end|>"
    assert model.blueprint.times == {
        "image": TimeText(intro=start, outro=end),
        "images": TimeText(intro=start, outro=end),
        "video": TimeText(
            intro=start, before="<{seconds:.1f} seconds>" + start, after=end, outro=end, moment="middle"
        ),
    }
    assert qwen.times(range(5)) == ["<0.2 seconds>", "<0.8 seconds>", "<1.3 seconds>"]
