"""`frame_vit` gives the hidden states of transformers' CLIP and SigLIP, and computes no more than needed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from vidapt.errors import ConfigError
from vidapt.nouns import Features, Grid
from vidapt.towers.frame_vit import Part

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 12,
    "patch_size": 4,
}
CLIP = {"model_type": "clip_vision_model", "projection_dim": 8, **SIZES}
SIGLIP = {"model_type": "siglip_vision_model", **SIZES}


def build(arch: dict[str, Any] = CLIP, **fields: Any) -> Part:
    torch.manual_seed(0)
    return Part(Part.Config(arch=arch, **fields)).eval()


def video(clips: int = 2, frames: int = 3, side: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (clips, frames, 3, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("layer", [0, 1, 3, -1, -2, -4])
@pytest.mark.parametrize(("arch", "class_tokens"), [(CLIP, 1), (SIGLIP, 0)])
def test_features_are_transformers_hidden_states(arch: dict[str, Any], class_tokens: int, layer: int) -> None:
    tower, views = build(arch, layer=layer), video()
    mean = torch.tensor(tower.mean).view(3, 1, 1)
    std = torch.tensor(tower.std).view(3, 1, 1)
    pixels = (views.flatten(0, 1) / 255 - mean) / std
    states = tower.net(pixels, output_hidden_states=True).hidden_states[layer][:, class_tokens:]
    torch.testing.assert_close(tower(views).x, states.reshape(2, 3, 3, 3, 16), atol=1e-6, rtol=1e-5)


def test_the_next_layer_is_another_feature() -> None:
    views = video()
    assert not torch.allclose(build(layer=-1)(views).x, build(layer=-2)(views).x, atol=1e-3)


def test_class_tokens_are_handed_on_when_asked() -> None:
    views = video()
    kept = build(drop_class_token=False)(views)
    assert kept.extra is not None
    assert kept.extra.shape == (2, 3, 16)
    assert build()(views).extra is None
    assert build(SIGLIP, drop_class_token=False)(views).extra is None


def test_chunks_do_not_change_the_result() -> None:
    views = video(2, 5)
    assert torch.allclose(build(frames_at_once=3)(views).x, build()(views).x, atol=1e-6)


def test_layers_above_the_one_read_are_kept_but_never_run() -> None:
    tower = build(layer=-2)
    assert len(tower.net.encoder.layers) == 3
    with torch.no_grad():
        for parameter in tower.net.encoder.layers[2].parameters():
            parameter.fill_(float("nan"))
    assert tower(video()).x.isfinite().all()
    assert not any(p.requires_grad for p in tower.net.encoder.layers[2].parameters())
    assert all(p.requires_grad for p in tower.net.encoder.layers[1].parameters())


@pytest.mark.parametrize("arch", [CLIP, SIGLIP])
def test_other_sizes_interpolate_the_position_table(arch: dict[str, Any]) -> None:
    tower = build(arch)
    seen = tower(video(1, 2, side=20))
    assert seen.grid == tower.grid(2, (20, 20)) == Grid(2, 5, 5)


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_does_not_exist_is_refused(layer: int) -> None:
    with pytest.raises(ConfigError, match="a tower of 3 layers"):
        build(layer=layer)


def test_an_unknown_architecture_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValidationError, match="did you mean 'clip_vision_model'"):
        Part.Config(arch={"model_type": "clip_vison_model"})


def test_a_dtype_in_a_published_config_does_not_decide() -> None:
    assert build({**CLIP, "dtype": "float16"})(video()).x.dtype == torch.float32


def pixels(tower: Part, views: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (tower.mean, tower.std))
    return (views.flatten(0, 1) / 255 - mean) / std


@pytest.mark.parametrize(("arch", "class_tokens"), [(CLIP, 1), (SIGLIP, 0)])
@pytest.mark.parametrize("layer", [-1, -2, 0])
def test_states_are_every_hidden_state_up_to_the_one_read(
    arch: dict[str, Any], class_tokens: int, layer: int
) -> None:
    tower, views = build(arch, layer=layer, drop_class_token=False, frames_at_once=4), video()
    theirs = tower.net(pixels(tower, views), output_hidden_states=True).hidden_states
    states = list(tower.states(views))
    assert len(states) == tower.depth + 1 == 3 + 1 + (layer + 1 if layer < 0 else layer - 3)
    for ours, hidden in zip(states, theirs, strict=False):
        torch.testing.assert_close(ours.flatten(0, 1), hidden, atol=1e-6, rtol=1e-5)
        seen = tower.features(ours, tower.grid(3, (12, 12)))
        torch.testing.assert_close(seen.x.flatten(2, 3).flatten(0, 1), hidden[:, class_tokens:])
    assert torch.equal(tower.features(states[-1], Grid(3, 3, 3)).x, tower(views).x)


@torch.no_grad()
@pytest.mark.parametrize("arch", [CLIP, SIGLIP], ids=["CLIP", "SigLIP"])
def test_a_frame_is_pooled_as_transformers_pools_an_image(arch: dict[str, Any]) -> None:
    tower, views = build(arch, layer=-1, drop_class_token=False), video()
    for weight in tower.parameters():
        weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    theirs = tower.net(pixels(tower, views)).pooler_output.reshape(2, 3, 16)
    seen = tower(views)
    torch.testing.assert_close(tower.pool(seen), theirs, atol=1e-5, rtol=1e-5)
    extra = None if seen.extra is None else seen.extra.flip(1)
    mixed = Features(seen.x.flip(1), extra)
    assert (tower.pool(mixed) - theirs).abs().max() > 1e-2
    early = list(tower.states(views))[-2]
    assert (tower.pool(tower.features(early, seen.grid)) - theirs).abs().max() > 1e-2
    tower.net.post_layernorm = torch.nn.Identity()
    assert (tower.pool(seen) - theirs).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("arch", "fields", "remedy"),
    [
        (CLIP, {}, "set layer: -1 and drop_class_token: false"),
        (CLIP, {"layer": -1}, "set drop_class_token: false"),
        (CLIP, {"layer": 2, "drop_class_token": False}, "set layer: -1"),
        (SIGLIP, {}, "set layer: -1"),
        (SIGLIP | {"vision_use_head": False}, {"layer": -1}, "frame_vit with CLIP, or long_clip"),
    ],
)
def test_what_cannot_pool_says_what_to_set(arch: dict[str, Any], fields: dict[str, Any], remedy: str) -> None:
    tower = build(arch, **fields)
    for ask in (tower.check_pooling, lambda: tower.pool(tower(video()))):
        with pytest.raises(ConfigError) as caught:
            ask()
        assert caught.value.remedy is not None
        assert caught.value.remedy.endswith(remedy)


@pytest.mark.parametrize("fields", [{"layer": -1}, {"layer": 3}])
def test_the_last_layer_by_any_number_can_pool(fields: dict[str, Any]) -> None:
    build(CLIP, drop_class_token=False, **fields).check_pooling()
    build(SIGLIP, **fields).check_pooling()
