"""`mrope` numbers three axes, and goes on behind the largest of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen2_5_VLConfig, Qwen2VLConfig, Qwen3VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from vidapt.errors import ConfigError
from vidapt.nouns import Grid
from vidapt.positions.mrope import Part

LONG, FLAT = Grid(5, 2, 3), Grid(2, 2, 3)


def part(compat: Any = None, per_second: float | None = None) -> Part:
    return Part(Part.Config(compat=compat, per_second=per_second))


def test_words_are_equal_on_all_axes_and_cells_have_a_place() -> None:
    ids, after = part().ids([2, (Grid(2, 1, 2), 0), 2])
    assert ids.tolist() == [
        [0, 1, 2, 2, 3, 3, 4, 5],
        [0, 1, 2, 2, 2, 2, 4, 5],
        [0, 1, 2, 3, 2, 3, 4, 5],
    ]
    assert after == 6


@pytest.mark.parametrize("grid", [Grid(5, 2, 3), Grid(2, 5, 3), Grid(2, 3, 5)])
def test_what_follows_starts_behind_the_longest_axis(grid: Grid) -> None:
    ids, after = part().ids([(grid, 0), 1])
    assert ids[:, -1].tolist() == [5, 5, 5]
    assert after == 6


def test_tokens_without_a_place_count_like_words() -> None:
    ids, after = part().ids([(FLAT, 2)], start=4)
    assert ids[:, -2:].tolist() == [[7, 8]] * 3
    assert after == 9


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        part().ids([-1])


TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
TEXT |= {"intermediate_size": 8, "vocab_size": 8, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 8}
VISION = {"depth": 1, "num_heads": 1, "hidden_size": 8}
MODELS = {
    "qwen2_vl": lambda: Qwen2VLModel(
        Qwen2VLConfig(vision_config={**VISION, "embed_dim": 8}, text_config=TEXT)
    ),
    "qwen2_5_vl": lambda: Qwen2_5_VLModel(
        Qwen2_5_VLConfig(vision_config={**VISION, "tokens_per_second": 2}, text_config=TEXT)
    ),
    "qwen3_vl": lambda: Qwen3VLModel(
        Qwen3VLConfig(vision_config={**VISION, "deepstack_visual_indexes": []}, text_config=TEXT)
    ),
}


def of_transformers(spans: list[Any], name: str = "qwen2_vl", still: int | None = None, **more: Any) -> Any:
    """[3, L]: positions of a prompt as transformers 5.23 numbers it; the span `still` is an image."""
    kinds: list[int] = []
    grids: dict[int, list[list[int]]] = {1: [], 2: []}
    for index, span in enumerate(spans):
        if isinstance(span, int):
            kinds += [0] * span
        else:
            kind = 1 if index == still else 2
            kinds += [kind] * span[0].cells
            grids[kind].append([span[0].t, span[0].h * 2, span[0].w * 2])
    ids = torch.zeros(1, len(kinds), dtype=torch.long)
    given = {
        name: torch.tensor(grids[kind])
        for kind, name in ((1, "image_grid_thw"), (2, "video_grid_thw"))
        if grids[kind]
    }
    found, _ = MODELS[name]().get_rope_index(
        input_ids=ids, mm_token_type_ids=torch.tensor([kinds]), **given, **more
    )
    assert isinstance(found, torch.Tensor)
    return found[:, 0]


def test_compat_gives_the_numbers_of_transformers_also_behind_a_long_clip() -> None:
    spans = [3, (LONG, 0), 4, (FLAT, 0), 2]
    assert torch.equal(part("published").ids(spans)[0], of_transformers(spans))


def test_without_compat_a_long_clip_shares_no_position_with_what_follows() -> None:
    spans = [3, (LONG, 0), 4]
    ids, _ = part().ids(spans)
    theirs = of_transformers(spans)
    assert torch.equal(ids[:, :-4], theirs[:, :-4])
    assert ids[:, -4:].min() > ids[:, :-4].max()
    assert theirs[:, -4:].min() <= theirs[:, :-4].max()
    assert (ids[:, -4:] - theirs[:, -4:] == LONG.t - LONG.w).all()


def test_both_agree_behind_clips_that_are_wider_than_long() -> None:
    spans = [3, (FLAT, 0), 4]
    assert torch.equal(part().ids(spans)[0], of_transformers(spans))


@pytest.mark.parametrize("interval", [1.0, 0.5, 0.3, 2.2])
def test_absolute_time_is_that_of_transformers(interval: float) -> None:
    seconds = tuple(3.5 + interval * index for index in range(LONG.t))
    spans = [3, (LONG, 0, seconds), 4, (Grid(1, 2, 3), 0, (0.0,)), 2]
    times = {"second_per_grid_ts": torch.tensor([interval])}
    expected = of_transformers(spans, "qwen2_5_vl", still=3, **times)
    assert torch.equal(part("published", 2.0).ids(spans)[0], expected)


def test_slices_close_in_time_share_a_position() -> None:
    ids, after = part(per_second=2.0).ids([(Grid(5, 1, 1), 0, (0.0, 0.25, 0.5, 0.75, 1.0)), 1])
    assert ids[0].tolist() == [0, 0, 1, 1, 2, 3]
    assert after == 4


def test_what_follows_starts_behind_the_last_moment() -> None:
    ids, _ = part(per_second=2.0).ids([(LONG, 0, (0.0, 2.0, 4.0, 6.0, 8.0)), 1])
    assert ids[:, -1].tolist() == [17, 17, 17]


def test_without_seconds_slices_count_as_a_second_apart() -> None:
    expected = of_transformers([(LONG, 0), 2], "qwen2_5_vl")
    assert torch.equal(part("published", 2.0).ids([(LONG, 0), 2])[0], expected)
    assert torch.equal(part("published", 2.0).ids([(LONG, 0, ()), 2])[0], expected)


def test_ticks_of_a_file_do_not_lose_a_position() -> None:
    ids, _ = part(per_second=2.0).ids([(Grid(3, 1, 1), 0, (0.0, 0.9999, 1.999))])
    assert ids[0].tolist() == [0, 2, 4]


def test_seconds_are_nothing_to_a_count_of_slices() -> None:
    assert torch.equal(part().ids([(LONG, 0, (0.0, 9.0, 9.5, 11.0, 12.0))])[0], part().ids([(LONG, 0)])[0])


@pytest.mark.parametrize(
    ("seconds", "told"), [((0.0, 1.0), "2 seconds are given for 5"), ((0.0, 2.0, 1.0, 3.0, 4.0), "backwards")]
)
def test_seconds_that_cannot_be_are_refused(seconds: tuple[float, ...], told: str) -> None:
    with pytest.raises((ValueError, ConfigError), match=told):
        part(per_second=2.0).ids([(LONG, 0, seconds)])


@pytest.mark.parametrize("compat", [None, "published"])
def test_slices_apart_are_numbered_as_by_qwen3_vl(compat: Any) -> None:
    """There text stands between slices, so a video is so many spans of one slice."""
    ours = [3, *[(Grid(1, 2, 3), 0), 4] * LONG.t]
    kinds = [0] * 3 + ([2] * 6 + [0] * 4) * LONG.t
    found, _ = MODELS["qwen3_vl"]().get_rope_index(
        input_ids=torch.zeros(1, len(kinds), dtype=torch.long),
        mm_token_type_ids=torch.tensor([kinds]),
        video_grid_thw=torch.tensor([[LONG.t, 4, 6]]),
    )
    assert torch.equal(part(compat).ids(ours)[0], found[:, 0])
