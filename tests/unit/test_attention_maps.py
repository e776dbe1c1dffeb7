"""Attention with its weights in hand: the towers' own states, rows that sum to 1, and rollout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.models.attention_maps import (
    TowerMaps,
    Walk,
    attend,
    rollout,
    tower_maps,
    video_proxy_counts,
    walk,
)
from vidapt.nouns import Grid
from vidapt.towers import clip_vip, conv_vip, convnext, frame_vit, long_clip, siglip_navit

TOLERANCE = 1e-5

SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 12,
    "patch_size": 4,
}


def clip_towers() -> Any:
    arch = long_clip.tiny().cfg.arch
    return long_clip.Part(long_clip.Part.Config(arch=arch, output="patches"))


BUILDERS: dict[str, Callable[[], Any]] = {
    "clip_vip": clip_vip.tiny,
    "clip_vip, added not seen": lambda: clip_vip.Part(
        clip_vip.tiny().cfg.model_copy(update={"added_seen": False})
    ),
    "conv_vip": lambda: conv_vip.Part(conv_vip.tiny().cfg.model_copy(update={"blocks": 2})),
    "frame_vit, CLIP, last but one": frame_vit.tiny,
    "frame_vit, SigLIP": lambda: frame_vit.Part(frame_vit.Part.Config(arch=SIGLIP, layer=-1)),
    "long_clip": clip_towers,
    "siglip_navit": siglip_navit.tiny,
}
towers = pytest.mark.parametrize("name", list(BUILDERS))


def build(name: str) -> Any:
    torch.manual_seed(0)
    tower = BUILDERS[name]().eval()
    with torch.no_grad():
        for weight in tower.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return tower


def film(tower: Any, frames: int = 3, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, frames, 3, *tower.size), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def gap(tower: Any, path: Walk, views: Tensor) -> float:
    """Largest difference between the states gone through and those of the tower's forward."""
    *_, last = path.states()
    state = path.finish(last)
    seen = tower(views)
    worst = (path.cells(state) - seen.x[0]).abs().max()
    if seen.extra is not None:
        lead = state[:, : len(path.names)]
        worst = torch.maximum(worst, (lead.reshape(-1) - seen.extra.reshape(-1)).abs().max())
    return float(worst)


@towers
def test_the_states_are_those_of_the_towers_own_forward(name: str) -> None:
    tower = build(name)
    for frames in (1, 3):
        views = film(tower, frames)
        assert gap(tower, walk(tower, views), views) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("name", ["clip_vip", "conv_vip"])
def test_seeing_other_frames_would_break_the_match(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = build(name)
    views = film(tower)
    monkeypatch.setattr(
        "vidapt.models.attention_maps.video_proxy_counts",
        lambda proxies, grid, seen: torch.ones(proxies + grid.cells, proxies + grid.cells),
    )
    assert gap(tower, walk(tower, views), views) > 100 * TOLERANCE


@torch.no_grad()
@towers
def test_a_layer_left_out_would_break_the_match(name: str) -> None:
    tower = build(name)
    views = film(tower)
    path = walk(tower, views)
    assert gap(tower, replace(path, layers=path.layers[1:]), views) > 100 * TOLERANCE


@torch.no_grad()
@towers
def test_weights_are_not_negative_and_sum_to_one(name: str) -> None:
    tower = build(name)
    path = walk(tower, film(tower))
    for step in path.steps(path.embedded):
        assert (step.weights >= 0).all()
        torch.testing.assert_close(step.weights.sum(-1), torch.ones_like(step.weights[..., 0]))


@torch.no_grad()
@towers
def test_rollout_equals_the_product_of_matrices_and_its_rows_sum_to_one(name: str) -> None:
    tower = build(name)
    path = walk(tower, film(tower))
    averaged = [step.weights.mean(1) for step in path.steps(path.embedded)]
    length = averaged[0].shape[-1]
    rows = rollout(averaged, torch.eye(length))
    torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))
    plain = torch.eye(length, dtype=torch.float64)
    for weights in averaged:
        plain = (0.5 * weights.double() + 0.5 * torch.eye(length)) @ plain
    torch.testing.assert_close(rows.double(), plain.expand_as(rows), atol=1e-6, rtol=0)


def test_rollout_in_the_wrong_order_is_another() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 1, 5, 5).mul(3).softmax(-1)
    right, wrong = rollout([first, second], torch.eye(5)), rollout([second, first], torch.eye(5))
    assert (right - wrong).abs().max() > 0.01


@towers
def test_maps_have_the_shape_of_the_clip_and_no_more_than_all_the_attention(name: str) -> None:
    tower = build(name)
    maps = tower_maps(tower, film(tower))
    frames = 3
    grid = walk(tower, film(tower)).grid
    for layer in maps.layers:
        assert layer.received.shape == (maps.heads, frames, grid.h, grid.w)
        assert layer.sent.shape == (maps.heads, len(maps.names), frames, grid.h, grid.w)
        assert layer.rolled.shape == (len(maps.names) + 1, frames, grid.h, grid.w)
    assert maps.norms.shape == (frames, grid.h, grid.w)
    # A frame of a frame-by-frame tower has attention of its own.
    whole = 1 if walk(tower, film(tower)).embedded.shape[0] == 1 else frames
    for token in ("received", maps.default_token()):
        for rolled in (False, True):
            assert 0 < float(maps.pick(token=token, rollout=rolled).sum()) <= whole + 1e-4


def test_without_other_tokens_all_attention_goes_to_patches() -> None:
    tower = build("frame_vit, SigLIP")
    maps = tower_maps(tower, film(tower))
    assert maps.names == ()
    assert maps.default_token() == "received"
    for index in (1, 2, 3):
        received = maps.pick(layer=index)
        torch.testing.assert_close(received.sum((1, 2)), torch.ones(3))


@torch.no_grad()
def test_a_map_is_the_class_tokens_row_of_the_weights() -> None:
    tower = build("clip_vip")
    views = film(tower)
    path = walk(tower, views)
    weights = [step.weights for step in path.steps(path.embedded)]
    maps = tower_maps(tower, views)
    row = weights[1][0, 1, 0, len(path.names) :].reshape(3, 3, 3)
    torch.testing.assert_close(maps.pick(layer=2, head=2, token="class"), row)
    torch.testing.assert_close(maps.pick(layer=-1, head=2), row)
    proxies = weights[0][0, :, :3, 3:].mean((0, 1)).reshape(3, 3, 3)
    torch.testing.assert_close(maps.pick(layer=1, token="proxies"), proxies)
    assert (maps.pick(layer=1, head=2) - row).abs().max() > 1e-3


def test_frames_seen_a_few_at_a_time_give_the_same_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = build("long_clip")
    views = film(tower, 5)
    whole = tower_maps(tower, views)
    monkeypatch.setattr("vidapt.models.attention_maps._AT_ONCE", 1)
    parts = tower_maps(tower, views)
    for token in ("class", "received"):
        torch.testing.assert_close(whole.pick(token=token), parts.pick(token=token))
    torch.testing.assert_close(whole.norms, parts.norms)


def test_counts_of_unseen_proxies_are_those_of_the_tower() -> None:
    counts = video_proxy_counts(3, Grid(2, 1, 2), seen=1)
    assert counts[:, 1:3].sum() == 0
    assert counts[0].tolist() == [2, 0, 0, 1, 1, 1, 1]
    assert counts[3].tolist() == [1, 0, 0, 1, 1, 0, 0]
    assert counts[6].tolist() == [1, 0, 0, 0, 0, 1, 1]


def test_attention_by_hand() -> None:
    one = torch.tensor([[[[1.0], [0.0]]]])
    mixed, weights = attend(one, one, one, 1.0)
    expected = torch.tensor([[2.718281828, 1.0], [1.0, 1.0]])
    expected = expected / expected.sum(1, keepdim=True)
    torch.testing.assert_close(weights[0, 0], expected)
    torch.testing.assert_close(mixed[0, 0, :, 0], expected[:, 0])


WRONG = [
    ({"layer": 3}, "there is no layer 3: this tower has 2"),
    ({"layer": 0}, "there is no layer 0"),
    ({"layer": -3}, "use a number from 1 to 2"),
    ({"head": 3}, "there is no head 3: this tower has 2"),
    ({"head": 0}, "there is no head 0"),
    ({"head": -1}, "there is no head -1"),
    ({"token": "proxy 3"}, "known: class, proxy 1, proxy 2, proxies, received"),
    ({"head": 1, "rollout": True}, "rollout averages over heads"),
]


@pytest.fixture(scope="module")
def maps() -> TowerMaps:
    tower = build("clip_vip")
    return tower_maps(tower, film(tower))


@pytest.mark.parametrize(("asked", "message"), WRONG)
def test_what_is_not_there_is_an_error(maps: TowerMaps, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        maps.pick(**asked)


def test_a_tower_without_attention_is_refused() -> None:
    tower = convnext.tiny()
    with pytest.raises(ConfigError, match="attention of 'convnext' cannot be shown"):
        tower_maps(tower, film(tower))


def test_a_tower_that_reads_its_embedding_is_refused() -> None:
    arch = frame_vit.tiny().cfg.arch
    tower = frame_vit.Part(frame_vit.Part.Config(arch=arch, layer=0))
    with pytest.raises(ConfigError, match="below all attention"):
        tower_maps(tower, film(tower))
