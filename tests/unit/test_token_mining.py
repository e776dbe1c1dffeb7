"""`token_mining` against HiLight's equations in float64, all variants, and their published sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from vidapt.connectors.token_mining import Part
from vidapt.nouns import Features, Grid

ASKED, ASKING, WORDS, ROWS = 12, 8, 6, 4
VARIANTS = ["released", "transposed", "v1", "v2"]


def build(variant: str = "released", **fields: Any) -> Part:
    torch.manual_seed(0)
    cfg = Part.Config(variant=variant, **{"rows": ROWS, **fields})
    part = Part(cfg, width_in=(ASKED, ASKING), width_out=WORDS).double()
    with torch.no_grad():
        for weight in part.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return part


def seen(clips: int = 2, frames: int = 3, extra: int = 2) -> tuple[Features, Features]:
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    proxies = draw(clips, extra, ASKED) if extra else None
    return Features(draw(clips, frames, 2, 2, ASKED), proxies), Features(draw(clips, frames, 1, 1, ASKING))


def norm(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    spread = ((x - x.mean()) ** 2).mean()
    return (x - x.mean()) / (spread + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def rows_of(feature: Tensor, variant: str, weights: Mapping[str, Tensor]) -> list[Tensor]:
    """The queries that one frame's feature becomes."""
    if variant in ("v1", "v2"):
        return [feature]
    # wide[c, j]: the j-th number that number c of the feature becomes.
    wide = [[float(w * x + b) for w, b in widening(weights)] for x in feature.tolist()]
    wide = [[max(0.0, x) for x in row] for row in wide]
    if variant == "transposed":
        return [torch.tensor([row[j] for row in wide], dtype=torch.float64) for j in range(ROWS)]
    flat = [x for row in wide for x in row]
    return [torch.tensor(flat[j * ASKING : (j + 1) * ASKING], dtype=torch.float64) for j in range(ROWS)]


def widening(weights: Mapping[str, Tensor]) -> list[tuple[float, float]]:
    pairs = zip(weights["widen.0.weight"][:, 0].tolist(), weights["widen.0.bias"].tolist(), strict=True)
    return list(pairs)


@torch.no_grad()
def equations(part: Part, asked: Features, asking: Features, variant: str, scale: float) -> Tensor:
    weights = part.state_dict()
    clips = []
    for index, features in enumerate(asking.x.flatten(1, 3)):
        sources = [*([] if asked.extra is None else asked.extra[index]), *asked.x[index].flatten(0, 2)]
        if variant in ("released", "transposed"):
            sources = [linear(s, weights, "source.0").clamp_min(0) for s in sources]
        keys = [linear(norm(s, weights, "key.0"), weights, "key.1") for s in sources]
        values = [linear(norm(s, weights, "value.0"), weights, "value.1") for s in sources]
        tokens = []
        for feature in features:
            for row in rows_of(feature, variant, weights):
                query = linear(norm(row, weights, "query.0"), weights, "query.1")
                scores = torch.stack([query @ key for key in keys]) / ASKING**0.5
                shares = torch.exp(scores) / torch.exp(scores).sum()
                mined = sum(share * value for share, value in zip(shares, values, strict=True))
                assert isinstance(mined, Tensor)
                token = linear(norm(mined, weights, "out.0"), weights, "out.1")
                if variant != "v1":
                    token = linear(token.clamp_min(0), weights, "out.3").clamp_min(0)
                tokens.append(token * scale)
        clips.append(torch.stack(tokens))
    return torch.stack(clips)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("extra", [0, 2])
def test_every_variant_equals_its_equations(variant: str, extra: int) -> None:
    part, (asked, asking) = build(variant), seen(extra=extra)
    tokens = part(asked, asking)
    right = equations(part, asked, asking, variant, WORDS**0.5)
    torch.testing.assert_close(tokens.x, right, atol=1e-10, rtol=0)
    assert (tokens.grid, tokens.extra) == part.plan(asked.grid, asking.grid)


def test_the_transposed_expansion_is_another() -> None:
    part, (asked, asking) = build("released"), seen()
    other = build("transposed")
    other.load_state_dict(part.state_dict())
    difference = (part(asked, asking).x - other(asked, asking).x).abs().max()
    assert difference > 0.01


def test_a_released_row_reads_only_its_share_of_the_feature() -> None:
    """Without the transpose, token j knows of numbers 2j and 2j + 1 alone (here 8 numbers in 4 rows)."""
    part, (_, asking) = build("released"), seen(clips=1, frames=1)
    with torch.no_grad():  # no number is cut off by the ReLU
        part.widen[0].weight.abs_()
        part.widen[0].bias.fill_(10.0)
    transposed = build("transposed")
    transposed.load_state_dict(part.state_dict())
    for made, reads in ((part, [False, True, False, False]), (transposed, [True] * 4)):
        changed = asking.x.clone()
        changed[..., 2] += 5
        before, after = made._widen(asking.x.flatten(1, 3)), made._widen(changed.flatten(1, 3))
        assert [bool((a != b).any()) for a, b in zip(before[0], after[0], strict=True)] == reads


def test_words_of_gemma_are_scaled_and_so_are_tokens() -> None:
    part, (asked, asking) = build(), seen()
    plain = build(like_words=False)
    plain.load_state_dict(part.state_dict())
    torch.testing.assert_close(part(asked, asking).x, plain(asked, asking).x * WORDS**0.5)
    wrong = plain(asked, asking).x - equations(part, asked, asking, "released", WORDS**0.5)
    assert wrong.abs().max() > 0.01


def test_dropped_proxies_break_the_match() -> None:
    part, (asked, asking) = build(), seen()
    right = equations(part, asked, asking, "released", WORDS**0.5)
    assert (part(Features(asked.x), asking).x - right).abs().max() > 0.01


@pytest.mark.parametrize(
    ("variant", "count"),
    [("released", 6_892_864), ("transposed", 6_892_864), ("v1", 2_105_856), ("v2", 6_302_208)],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(variant: str, count: int) -> None:
    with torch.device("meta"):
        part = Part(Part.Config(variant=variant), width_in=(768, 512), width_out=2048)
    assert sum(weight.numel() for weight in part.parameters()) == count


@given(
    variant=st.sampled_from(VARIANTS),
    frames=st.integers(1, 5),
    rows=st.integers(1, 5),
    extra=st.integers(0, 3),
    clips=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_tokens_are_as_many_as_planned(variant: str, frames: int, rows: int, extra: int, clips: int) -> None:
    part, (asked, asking) = build(variant, rows=rows), seen(clips, frames, extra)
    grid, without = part.plan(asked.grid, asking.grid)
    tokens = part(asked, asking)
    each = rows if variant in ("released", "transposed") else 1
    assert grid.cells == frames * each
    assert tokens.x.shape == (clips, grid.cells + without, WORDS)


def test_twelve_frames_become_384_tokens() -> None:
    with torch.device("meta"):
        part = Part(Part.Config(), width_in=(768, 512), width_out=2048)
    assert part.plan(Grid(12, 14, 14), Grid(12, 1, 1)) == (Grid(12, 1, 32), 0)


def test_one_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="two towers"):
        Part(Part.Config(), width_in=8, width_out=4)
    part, (asked, _) = build(), seen()
    with pytest.raises(ValueError, match="two towers"):
        part(asked)
    with pytest.raises(ValueError, match="two towers"):
        part.plan(asked.grid)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValidationError, match="variant"):
        Part.Config(variant="v3")
