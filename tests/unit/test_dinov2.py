"""The DINOv2 tower against transformers' own forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from vidapt.errors import ConfigError
from vidapt.nouns import Grid
from vidapt.towers.dinov2 import Part

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "image_size": 20,
    "patch_size": 4,
    "initializer_range": 0.2,
}
MODELS = {
    "dinov2": (Dinov2Config, Dinov2Model),
    "dinov2_with_registers": (Dinov2WithRegistersConfig, Dinov2WithRegistersModel),
}


def both(kind: str, **fields: Any) -> tuple[Part, Any]:
    torch.manual_seed(0)
    config, model = MODELS[kind]
    theirs = model(config(**SIZES)).eval()
    ours = Part(Part.Config(arch={"model_type": kind, **SIZES}, **fields)).eval()
    ours.net.load_state_dict(theirs.state_dict())
    return ours, theirs


def frames(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def pixels(views: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (views.flatten(0, 1).float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("size", [(20, 20), (12, 12), (8, 24)], ids=["native", "smaller", "oblong"])
@torch.no_grad()
def test_patches_equal_those_of_transformers(kind: str, size: tuple[int, int]) -> None:
    ours, theirs = both(kind)
    views = frames(2, 3, 3, *size)
    others = 1 + getattr(theirs.config, "num_register_tokens", 0)
    expected = theirs(pixels(views)).last_hidden_state[:, others:]
    seen = ours(views)
    assert seen.grid == ours.grid(3, size) == Grid(3, size[0] // 4, size[1] // 4)
    torch.testing.assert_close(seen.x.flatten(0, 1).flatten(1, 2), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", [0, 1, -2, 3])
@torch.no_grad()
def test_a_layer_without_the_norm_is_a_hidden_state_of_transformers(layer: int) -> None:
    ours, theirs = both("dinov2", layer=layer, norm=False)
    views = frames(1, 2, 3, 20, 20)
    states = theirs(pixels(views), output_hidden_states=True).hidden_states
    seen = ours(views).x.flatten(0, 1).flatten(1, 2)
    torch.testing.assert_close(seen, states[layer][:, 1:], atol=1e-5, rtol=0)
    assert all((seen - state[:, 1:]).abs().max() > 1e-2 for state in states if state is not states[layer])


def test_what_is_never_used_is_frozen() -> None:
    ours, _ = both("dinov2", layer=-2, norm=False)
    frozen = {name for name, weight in ours.named_parameters() if not weight.requires_grad}
    assert {"net.embeddings.mask_token", "net.layernorm.weight", "net.layernorm.bias"} < frozen
    assert {name.split(".")[3] for name in frozen if name.startswith("net.encoder")} == {"2"}


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="-4 to 3"):
        both("dinov2", layer=4)


def test_another_architecture_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValidationError, match="dinov2"):
        Part.Config(arch={"model_type": "dinov3"})
