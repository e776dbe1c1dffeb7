"""`mrope` numbers three axes, and goes on behind the largest of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel

from vidapt.nouns import Grid
from vidapt.positions.mrope import Part

LONG, FLAT = Grid(5, 2, 3), Grid(2, 2, 3)


def part(compat: Any = None) -> Part:
    return Part(Part.Config(compat=compat))


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


def of_transformers(spans: list[Any]) -> torch.Tensor:
    """[3, L]: positions of a prompt as transformers 5.23 numbers it."""
    kinds, grids = [], []
    for span in spans:
        if isinstance(span, int):
            kinds += [0] * span
        else:
            kinds += [2] * span[0].cells
            grids.append([span[0].t, span[0].h * 2, span[0].w * 2])
    vision = {"depth": 1, "embed_dim": 8, "num_heads": 1, "hidden_size": 8}
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    text |= {"intermediate_size": 8, "vocab_size": 8, "bos_token_id": 1, "eos_token_id": 2}
    model = Qwen2VLModel(Qwen2VLConfig(vision_config=vision, text_config=text))
    ids = torch.zeros(1, len(kinds), dtype=torch.long)
    found, _ = model.get_rope_index(ids, torch.tensor([kinds]), video_grid_thw=torch.tensor(grids))
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
