"""`resampler`: the published cross-attention in two and three dimensions, against equations in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from vidapt.connectors.resampler import Part, tiny
from vidapt.nouns import Features, Grid, Moments

C, D, HEAD, QUERIES = 12, 16, 8, 5


def build(width_in: int = C, **fields: Any) -> Part:
    torch.manual_seed(0)
    config = Part.Config(**{"queries": QUERIES, "head_width": HEAD, **fields})
    part = Part(config, width_in=width_in, width_out=D)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return part.eval()


def cells(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def wave(place: float, channels: int) -> Tensor:
    half = channels // 2
    angles = torch.tensor([place / 10000 ** (i / half) for i in range(half)], dtype=torch.float64)
    return torch.cat([angles.sin(), angles.cos()])


def plain(
    part: Part,
    x: Tensor,
    ticks: list[float] | None = None,
    *,
    rows_first: bool = False,
    on_values: bool = False,
    on_queries: bool = False,
) -> Tensor:
    """[t, h, w, C] read together -> [queries, D]; `ticks` are positions in time, one per frame."""
    w = {key: tensor.double() for key, tensor in part.state_dict().items()}
    t, height, width = x.shape[:3]
    values, places = [], []
    for frame in range(t):
        for row in range(height):
            for column in range(width):
                cell = x[frame, row, column].double()
                values.append(
                    _norm(w["kv_proj.weight"] @ cell if "kv_proj.weight" in w else cell, w, "ln_kv")
                )
                sides = (row, column) if rows_first else (column, row)
                place = torch.cat([wave(side, D // 2) for side in sides])
                places.append(place if ticks is None else place + wave(ticks[frame], D))
    v, place = torch.stack(values), torch.stack(places)
    q, k = _norm(w["query"], w, "ln_q"), v + place
    v = k if on_values else v
    q = q + place[: len(q)] if on_queries else q
    weight, bias = w["attn.in_proj_weight"].split(D), w["attn.in_proj_bias"].split(D)
    q, k, v = (y @ a.T + b for y, a, b in zip((q, k, v), weight, bias, strict=True))
    heads = []
    for start in range(0, D, HEAD):
        part_q, part_k, part_v = (y[:, start : start + HEAD] for y in (q, k, v))
        heads.append(torch.softmax(part_q @ part_k.T / math.sqrt(HEAD), dim=-1) @ part_v)
    read = torch.cat(heads, dim=-1) @ w["attn.out_proj.weight"].T + w["attn.out_proj.bias"]
    return _norm(read, w, "ln_post") @ w["proj"]


def _norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


@pytest.mark.parametrize("width_in", [C, D], ids=["projected", "of the same width"])
@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 4, 2), (2, 1, 9)])
def test_each_frame_becomes_its_tokens(shape: tuple[int, int, int], width_in: int) -> None:
    part, x = build(width_in), cells(2, *shape, width_in)
    tokens = part(Features(x))
    assert (tokens.grid, tokens.extra) == (Grid(shape[0], 1, QUERIES), 0)
    expected = torch.stack([torch.cat([plain(part, frame[None]) for frame in clip]) for clip in x])
    torch.testing.assert_close(tokens.x.double(), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("frames", [2, 4, 5, 7])
def test_frames_read_together_know_their_times(frames: int) -> None:
    """Three frames a group, half a second apart: ticks 0, 5, 10, ... of a tenth of a second."""
    part, x = build(join=3, seconds=0.5), cells(2, frames, 2, 3, C)
    ticks = [5.0 * index for index in range(frames)]
    expected = torch.stack(
        [
            torch.cat([plain(part, clip[s : s + 3], ticks[s : s + 3]) for s in range(0, frames, 3)])
            for clip in x
        ]
    )
    torch.testing.assert_close(part(Features(x)).x.double(), expected, atol=2e-5, rtol=0)


def test_a_still_has_no_time() -> None:
    part, x = build(join=3, seconds=0.5), cells(1, 1, 2, 3, C)
    torch.testing.assert_close(part(Features(x)).x[0].double(), plain(part, x[0]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("mistake", ["rows_first", "on_values", "on_queries"])
def test_a_mistake_would_show(mistake: str) -> None:
    part, x = build(), cells(1, 1, 3, 4, C)
    wrong = plain(part, x[0], **{mistake: True})
    assert (part(Features(x)).x[0].double() - wrong).abs().max() > 1e-2


@pytest.mark.parametrize("ticks", [[0.0, 0.0], [5.0, 0.0], [0.0, 0.5]], ids=["none", "reversed", "seconds"])
def test_wrong_times_would_show(ticks: list[float]) -> None:
    part, x = build(join=2, seconds=0.5), cells(1, 2, 2, 3, C)
    assert (part(Features(x)).x[0].double() - plain(part, x[0], ticks)).abs().max() > 1e-3


def test_smaller_chunks_change_nothing() -> None:
    x = cells(2, 7, 2, 3, C)
    for fields in ({}, {"join": 2, "seconds": 1.0}):
        expected = build(**fields)(Features(x)).x
        found = build(groups_at_once=1, **fields)(Features(x)).x
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@given(frames=st.integers(1, 80), height=st.integers(1, 80), width=st.integers(1, 80), join=st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_the_number_of_tokens_depends_on_frames_alone(
    frames: int, height: int, width: int, join: int
) -> None:
    part = Part(Part.Config(join=join, seconds=1.0), width_in=4, width_out=128)
    grid, extra = part.plan(Grid(frames, height, width))
    assert grid.cells + extra == 64 * math.ceil(frames / join)


def test_positions_are_not_saved() -> None:
    names = {"query", "kv_proj.weight", "proj"}
    names |= {"attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias"}
    names |= {f"ln_{name}.{what}" for name in ("q", "kv", "post") for what in ("weight", "bias")}
    assert set(build().state_dict()) == names


def test_what_it_cannot_read_is_refused() -> None:
    x = cells(1, 1, 2, 2, C)
    with pytest.raises(ValueError, match="one tower"):
        build()(Features(x), Features(x))
    with pytest.raises(ValueError, match="one tower"):
        build()(Features(x, extra=cells(1, 1, C)))
    with pytest.raises(ValueError, match="does not divide"):
        Part(Part.Config(), width_in=C, width_out=100)
    with pytest.raises(ValidationError, match="seconds"):
        Part.Config(join=2)


def test_frames_are_where_they_were_in_time() -> None:
    part = tiny().eval()
    x = torch.randn(2, 4, 3, 3, 16, generator=torch.Generator().manual_seed(0))
    even = Moments((0.0, 0.5, 1.0, 1.5), 2.0)
    apart = Moments((0.0, 0.5, 1.0, 30.0), 31.0)
    unknown = part(Features(x)).x
    assert torch.allclose(part(Features(x), moments=(even, even)).x, unknown, atol=1e-6)
    mixed = part(Features(x), moments=(even, apart)).x
    assert torch.allclose(mixed[0], unknown[0], atol=1e-6)
    assert torch.allclose(mixed[1, :3], unknown[1, :3], atol=1e-6)
    assert not torch.allclose(mixed[1, 3:], unknown[1, 3:], atol=1e-4)


def test_only_a_resampler_with_positions_in_time_asks_for_moments() -> None:
    assert tiny().timed
    assert not Part(Part.Config(queries=3, head_width=4), width_in=16, width_out=8).timed
