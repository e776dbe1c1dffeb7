"""Our ConvNeXt tower against its equations, with weights by timm's names as published files hold them."""

from __future__ import annotations

import pytest
import torch
import two_tower_tools as two
from pydantic import ValidationError
from torch import Tensor

from vidapt.hub import mini_gemini
from vidapt.hub._keys import rename
from vidapt.nouns import Grid
from vidapt.towers.convnext import Part

WIDTHS, DEPTHS = (4, 6, 8, 10), (2, 1, 3, 1)
AUX = "model.vision_tower_aux."
STATE = two.timm_convnext(WIDTHS, DEPTHS)


@pytest.fixture
def tower() -> Part:
    arch = {"model_type": "convnext", "hidden_sizes": list(WIDTHS), "depths": list(DEPTHS), "image_size": 64}
    part = Part(Part.Config(arch=arch)).double()
    table = rename((AUX + key for key in STATE), mini_gemini.RULES, "test", "mini_gemini").names
    state = {table[AUX + key].removeprefix("towers.1."): tensor for key, tensor in STATE.items()}
    part.load_state_dict(state, strict=True)
    return part


def frames(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def expected(view: Tensor, part: Part) -> Tensor:
    picture = view.permute(1, 2, 0).double() / 255
    return two.convnext((picture - torch.tensor(part.mean)) / torch.tensor(part.std), two.doubled(STATE))


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (64, 96), (70, 50)])
def test_all_stages_equal_the_equations(tower: Part, size: tuple[int, int]) -> None:
    views = frames(1, 2, 3, *size)
    seen = tower(views)
    assert seen.grid == tower.grid(2, size) == Grid(2, size[0] // 4, size[1] // 4)
    assert seen.extra is None
    for index in range(2):
        torch.testing.assert_close(seen.x[0, index], expected(views[0, index], tower), atol=1e-6, rtol=0)


def test_a_swap_of_two_stages_would_be_seen(tower: Part) -> None:
    views = frames(1, 1, 3, 64, 64)
    seen = tower(views).x[0, 0]
    first, second, *rest = seen.split(WIDTHS, dim=-1)
    swapped = torch.cat([second, first, *rest], dim=-1)
    assert (swapped - expected(views[0, 0], tower)).abs().max() > 0.1


def test_numbers_that_are_not_rounded_are_taken_as_they_are(tower: Part) -> None:
    views = frames(1, 1, 3, 32, 32)
    torch.testing.assert_close(tower(views.float()).x, tower(views).x)
    assert (tower(views.float() * 0.999).x - tower(views).x).abs().max() > 1e-4


def test_how_many_frames_are_seen_together_changes_nothing(tower: Part) -> None:
    alone = Part(tower.cfg.model_copy(update={"frames_at_once": 1})).double()
    alone.load_state_dict(tower.state_dict())
    views = frames(2, 3, 3, 32, 32)
    torch.testing.assert_close(alone(views).x, tower(views).x)


def test_a_view_without_anything_left_for_the_last_stage_is_refused(tower: Part) -> None:
    with pytest.raises(ValueError, match="32 pixels"):
        tower.grid(1, (64, 31))


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ValidationError, match="convnext"):
        Part.Config(arch={"model_type": "convnextv2"})


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    """ConvNeXt-L of ImageNet has 197,767,336, of which 1,540,072 are in its norm and head."""
    arch = {
        "model_type": "convnext",
        "hidden_sizes": [192, 384, 768, 1536],
        "depths": [3, 3, 27, 3],
        "image_size": 768,
    }
    with torch.device("meta"):
        tower = Part(Part.Config(arch=arch))
    assert sum(weight.numel() for weight in tower.parameters()) == 197_767_336 - 1_540_072
    assert tower.width == 2880
    assert tower.grid(1, tower.size) == Grid(1, 192, 192)
