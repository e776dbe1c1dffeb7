"""`clip_vip` against CLIP-ViP's equations in float64, and against image CLIP, from which it begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import clip_tools as clip
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vidapt.nouns import Grid
from vidapt.towers.clip_vip import Part, tiny, video_proxy_attention

TOLERANCE = 1e-4
HEADS, CELLS, PROXIES = 2, 9, 3


def build(**fields: Any) -> Part:
    torch.manual_seed(0)
    cfg = tiny().cfg.model_copy(update=fields)
    tower = clip.shake(Part(cfg))
    assert isinstance(tower, Part)
    return tower


def all_states(tower: Part, views: Tensor) -> Tensor:
    seen = tower(views)
    return torch.cat([seen.extra, seen.x.flatten(1, 3)], dim=1)


@torch.no_grad()
def expected(tower: Part, views: Tensor, sees: Tensor | None = None) -> Tensor:
    weights = clip.exact(tower, "tower.")
    return torch.stack([clip.clip_vip_states(film, weights, "tower", HEADS, sees) for film in views])


def worst(tower: Part, views: Tensor, sees: Tensor | None = None) -> float:
    with torch.no_grad():
        return float((all_states(tower, views).double() - expected(tower, views, sees)).abs().max())


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
def test_states_equal_the_equations_for_any_number_of_frames(frames: int) -> None:
    tower, views = build(), clip.film(2, frames)
    assert worst(tower, views) < TOLERANCE
    assert tower(views).grid == Grid(frames, 3, 3)


def test_a_large_clip_equals_one_dense_mask() -> None:
    """One attention under the boolean mask gives what the two small ones give."""
    torch.manual_seed(0)
    frames, proxies, cells = 4, 3, 5
    q, k, v = torch.randn(3, 2, 2, proxies + frames * cells, 8).double()
    mine, _ = video_proxy_attention(
        torch.nn.Module(), q, k, v, None, proxies=proxies, frames=frames, seen=proxies, scaling=0.3
    )
    sees = clip.proxy_sees(proxies, frames, cells).bool()
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=sees, scale=0.3)
    torch.testing.assert_close(mine, dense.transpose(1, 2), atol=1e-12, rtol=0)


def without_proxies(frames: int) -> Tensor:
    sees = clip.proxy_sees(PROXIES, frames, CELLS)
    sees[PROXIES:, 1:PROXIES] = 0
    return sees


def _later_time(tower: Part) -> None:
    with torch.no_grad():
        tower.temporal.copy_(tower.temporal.roll(1, dims=1))


def _place_of_proxies(tower: Part) -> None:
    with torch.no_grad():
        table = tower.net.embeddings.position_embedding.weight
        table.copy_(table.roll(1, dims=0))


def _order_of_proxies(tower: Part) -> None:
    with torch.no_grad():
        tower.added.copy_(tower.added.flip(0))


@pytest.mark.parametrize("mistake", [_later_time, _place_of_proxies, _order_of_proxies])
def test_a_mistake_in_the_embeddings_breaks_the_match(mistake: Callable[[Part], None]) -> None:
    tower, views = build(), clip.film(1, 3)
    right = expected(tower, views)
    mistake(tower)
    with torch.no_grad():
        assert (all_states(tower, views) - right).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize(
    "sees", [torch.ones(30, 30).double(), without_proxies(3)], ids=["all see all", "added proxies dropped"]
)
def test_a_mistake_in_the_mask_breaks_the_match(sees: Tensor) -> None:
    assert worst(build(), clip.film(1, 3), sees) > 100 * TOLERANCE


def test_another_interpolation_of_time_breaks_the_match() -> None:
    tower, views = build(), clip.film(1, 5)
    nearest = torch.nn.functional.interpolate(tower.temporal.detach().transpose(1, 2), size=5)
    wrong = build(frames=5)
    wrong.load_state_dict({**tower.state_dict(), "temporal": nearest.transpose(1, 2)})
    with torch.no_grad():
        assert (all_states(wrong, views) - expected(tower, views)).abs().max() > 100 * TOLERANCE


def image(tower: Part) -> Callable[[Tensor], Tensor]:
    """Image CLIP of the same weights, as transformers computes it: [3, H, W] uint8 -> [C] pooled."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    arch = {key: value for key, value in tower.cfg.arch.items() if key != "model_type"}
    oracle = CLIPVisionModel(CLIPVisionConfig(**arch)).eval()
    oracle.load_state_dict(tower.net.state_dict())
    return lambda frame: oracle(clip.pixels(frame)[None].float()).pooler_output[0]


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_with_no_time_and_masked_proxies_a_repeated_frame_is_image_clip(frames: int) -> None:
    tower = build(added_seen=False)
    tower.temporal.zero_()
    frame = clip.film(1, 1)
    pooled = tower.pool(tower(frame.expand(-1, frames, -1, -1, -1)))[0, 0]
    torch.testing.assert_close(pooled, image(tower)(frame[0, 0]), atol=1e-5, rtol=0)


@torch.no_grad()
def test_proxies_that_are_seen_or_time_that_counts_make_it_another() -> None:
    frame = clip.film(1, 1)
    for fields, timeless in (({}, True), ({"added_seen": False}, False)):
        tower = build(**fields)
        if timeless:
            tower.temporal.zero_()
        pooled = tower.pool(tower(frame))[0, 0]
        assert (pooled - image(tower)(frame[0, 0])).abs().max() > 100 * TOLERANCE


@torch.no_grad()
def test_masked_proxies_follow_their_own_equation() -> None:
    """Nobody sees the added ones; a key of the class token stands once for every frame."""
    tower, views, frames = build(added_seen=False), clip.film(1, 4), 4
    sees = clip.proxy_sees(PROXIES, frames, CELLS)
    sees[:, 1:PROXIES] = 0
    sees[:PROXIES, 0] = frames
    assert worst(tower, views, sees) < TOLERANCE


def test_states_are_the_embedding_and_every_layer() -> None:
    tower, views = build(), clip.film(1, 2)
    states = list(tower.states(views))
    assert len(states) == 1 + 2
    assert all(state.shape == (1, PROXIES + 2 * CELLS, 16) for state in states)
    seen = tower.features(states[-1], tower.grid(2, tower.size))
    assert torch.equal(seen.x, tower(views).x)


def test_floats_are_taken_as_they_are() -> None:
    tower, views = build(), clip.film(1, 2)
    assert torch.equal(tower(views).x, tower(views.float()).x)


def test_another_size_interpolates_the_places() -> None:
    tower = build()
    assert tower(clip.film(1, 2, side=20)).grid == tower.grid(2, (20, 20)) == Grid(2, 5, 5)


def test_without_added_proxies_the_class_token_is_the_only_one() -> None:
    tower = build(added=0)
    seen = tower(clip.film(1, 3))
    assert seen.extra is not None
    assert seen.extra.shape == (1, 1, 16)
    assert worst(tower, clip.film(1, 3)) < TOLERANCE


def test_another_kind_of_tower_is_refused() -> None:
    with pytest.raises(ValidationError, match="not 'clip_vision_model'"):
        Part.Config(arch={"model_type": "siglip_vision_model"})


def test_gradients_reach_time_and_proxies() -> None:
    tower = build()
    tower(clip.film(1, 3)).x.square().sum().backward()
    for weight in (tower.temporal, tower.added, tower.net.embeddings.class_embedding):
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0
