"""InternViT sees what transformers' does: any layer, with either norm, at other sizes too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import InternVLVisionConfig, InternVLVisionModel

from vidapt.errors import ConfigError
from vidapt.parts import build
from vidapt.towers._patches import tiny_arch
from vidapt.towers._pixels import normalise
from vidapt.towers.intern_vit import Part


def arch(**changes: Any) -> dict[str, Any]:
    given = {"intermediate_size": 32, "attention_bias": True, **changes}
    return tiny_arch("internvl_vision", layers=3, **given)


def tower(layer: int = -1, **changes: Any) -> Part:
    torch.manual_seed(0)
    part = Part(Part.Config(arch=arch(**changes), layer=layer, frames_at_once=2)).eval()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return part


@pytest.mark.parametrize("layer", [-1, -2, 0, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_qk_norm": True, "norm_type": "rms_norm", "attention_bias": False},
        {"use_mean_pooling": False},
        {"image_size": [12, 12], "patch_size": [4, 4]},
    ],
)
@pytest.mark.parametrize("size", [(12, 12), (16, 16)])
@torch.no_grad()
def test_features_are_the_originals(layer: int, changes: dict[str, Any], size: tuple[int, int]) -> None:
    ours = tower(layer, **changes)
    theirs = InternVLVisionModel(InternVLVisionConfig(**arch(**changes))).eval()
    theirs.load_state_dict(ours.net.state_dict())
    views = torch.randint(0, 256, (2, 3, 3, *size), dtype=torch.uint8)
    pixels = normalise(views.flatten(0, 1), ours.mean, ours.std, torch.float32)
    seen = theirs(pixel_values=pixels, output_hidden_states=True)
    state = seen.last_hidden_state if layer == -1 else seen.hidden_states[layer]
    found = ours(views)
    assert found.extra is None
    assert found.grid == ours.grid(3, size)
    expected = state[:, 1:].reshape(found.x.shape)
    torch.testing.assert_close(found.x, expected, atol=1e-5, rtol=1e-5)


def test_layers_that_are_not_read_are_frozen() -> None:
    ours = tower(-2, use_mean_pooling=False)
    frozen = {name for name, p in ours.net.named_parameters() if not p.requires_grad}
    unread = ("encoder.layer.2.", "layernorm.")
    assert frozen == {name for name, _ in ours.net.named_parameters() if name.startswith(unread)}
    ours(torch.zeros(1, 1, 3, 12, 12)).x.square().sum().backward()
    assert all(p.grad is not None for p in ours.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"arch": {"model_type": "siglip_vision_model"}}, "internvl_vision"),
        ({"arch": arch(), "layer": -5}, "a tower of 3 layers"),
        ({"arch": arch(patch_size=[4, 2])}, "only squares"),
    ],
)
def test_what_it_cannot_be_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        build("towers", {"kind": "intern_vit", **spec})
