"""`siglip_navit`: positions by fraction, and a plain vision transformer around them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vidapt.nouns import Grid
from vidapt.towers.siglip_navit import Part, buckets

WIDTH, HEADS, PATCH, TABLE = 16, 2, 4, 5
ARCH = {
    "model_type": "siglip_vision_model",
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "image_size": PATCH * TABLE,
    "patch_size": PATCH,
}
APART = (25, 49, 50, 55, 58)
"""Numbers of patches up to sixty for which the two rules differ with a table of seventy."""


def build(**fields: Any) -> Part:
    torch.manual_seed(0)
    part = Part(Part.Config(arch=ARCH, **fields))
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return part.eval()


def video(height: int, width: int, clips: int = 2, frames: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (clips, frames, 3, height, width), dtype=torch.uint8, generator=generator)


def plain(part: Part, frame: Tensor, *, transposed: bool = False, norm: bool = True) -> Tensor:
    """[3, H, W] uint8 -> [h, w, C] in float64, from the weights and the equations alone."""
    w = {key: tensor.double() for key, tensor in part.net.state_dict().items()}
    rows, columns = frame.shape[1] // PATCH, frame.shape[2] // PATCH
    pixels = frame.double() / 255 * 2 - 1
    state = torch.empty(rows * columns, WIDTH, dtype=torch.float64)
    for i in range(rows):
        for j in range(columns):
            patch = pixels[:, i * PATCH : (i + 1) * PATCH, j * PATCH : (j + 1) * PATCH]
            kernel = w["embeddings.patch_embedding.weight"]
            seen = (kernel * patch).sum(dim=(1, 2, 3)) + w["embeddings.patch_embedding.bias"]
            row, column = i * TABLE // rows, j * TABLE // columns
            if transposed:
                row, column = column, row
            state[i * columns + j] = seen + w["embeddings.position_embedding.weight"][row * TABLE + column]
    for layer in range(2):
        state = _layer(state, {k.removeprefix(f"encoder.layers.{layer}."): v for k, v in w.items()})
    if norm:
        state = _norm(state, w, "post_layernorm")
    return state.reshape(rows, columns, WIDTH)


def _norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"]
        + w[f"{name}.bias"]
    )


def _linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _layer(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    normed = _norm(x, w, "layer_norm1")
    projected = (_linear(normed, w, f"self_attn.{name}_proj") for name in "qkv")
    q, k, v = (x.reshape(-1, HEADS, WIDTH // HEADS) for x in projected)
    heads = [
        torch.softmax(q[:, h] @ k[:, h].T / math.sqrt(WIDTH // HEADS), dim=-1) @ v[:, h] for h in range(HEADS)
    ]
    x = x + _linear(torch.cat(heads, dim=-1), w, "self_attn.out_proj")
    hidden = _linear(_norm(x, w, "layer_norm2"), w, "mlp.fc1")
    hidden = 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    return x + _linear(hidden, w, "mlp.fc2")


@pytest.mark.parametrize("size", [(20, 20), (8, 28), (12, 4), (36, 24)])
def test_features_are_the_equations(size: tuple[int, int]) -> None:
    part, views = build(), video(*size)
    seen = part(views)
    assert seen.grid == part.grid(3, size) == Grid(3, size[0] // PATCH, size[1] // PATCH)
    for clip in range(2):
        for frame in range(3):
            expected = plain(part, views[clip, frame])
            torch.testing.assert_close(seen.x[clip, frame].double(), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("mistake", [{"transposed": True}, {"norm": False}])
def test_a_mistake_would_show(mistake: dict[str, bool]) -> None:
    part, views = build(), video(8, 28)
    difference = part(views).x[0, 0].double() - plain(part, views[0, 0], **mistake)
    assert difference.abs().max() > 1e-2


def test_at_its_native_size_it_is_transformers_siglip() -> None:
    part, views = build(), video(20, 20)
    pixels = views.flatten(0, 1) / 255 * 2 - 1
    expected = part.net(pixels).last_hidden_state.reshape(2, 3, 5, 5, WIDTH)
    torch.testing.assert_close(part(views).x, expected, atol=1e-5, rtol=0)


def test_floats_and_smaller_chunks_change_nothing() -> None:
    views = video(8, 12)
    expected = build()(views).x
    torch.testing.assert_close(build()(views.float()).x, expected, atol=0, rtol=0)
    torch.testing.assert_close(build(frames_at_once=1)(views).x, expected, atol=1e-5, rtol=0)


def published(count: int, table: int) -> Tensor:
    """The original's operations; the number of patches is an integer tensor there."""
    boundaries = torch.arange(1 / table, 1.0, 1 / table)
    fractions = torch.arange(0, 1 - 1e-6, 1 / torch.tensor(count, dtype=torch.int32))
    return torch.bucketize(fractions, boundaries, right=True)


@pytest.mark.parametrize("table", [5, 32, 70])
def test_positions_for_any_number_of_patches(table: int) -> None:
    for count in range(1, 1500):
        ours, exact = buckets(count, table, "published"), buckets(count, table, "exact")
        assert torch.equal(ours, published(count, table)), count
        assert exact.tolist() == [i * table // count for i in range(count)]
        assert len(ours) == count
        assert (exact - ours).abs().max() <= 1
        assert ours.min() == 0
        assert ours.max() < table
        assert (ours.diff() >= 0).all()


def test_where_the_two_rules_differ() -> None:
    rules = ((n, buckets(n, 70, "published"), buckets(n, 70, "exact")) for n in range(1, 61))
    differ = [n for n, published_rule, exact in rules if not torch.equal(published_rule, exact)]
    assert tuple(differ) == APART


def test_the_rule_reaches_the_features() -> None:
    count = next(
        n for n in range(1, 99) if not torch.equal(buckets(n, TABLE, "published"), buckets(n, TABLE, "exact"))
    )
    views = video(PATCH, PATCH * count, clips=1, frames=1)
    assert not torch.allclose(build()(views).x, build(compat="exact")(views).x, atol=1e-4)


def test_other_architectures_are_refused() -> None:
    with pytest.raises(ValidationError, match="siglip_vision_model"):
        Part.Config(arch={**ARCH, "model_type": "clip_vision_model"})
