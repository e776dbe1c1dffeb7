"""`qwen3_vit` and `qwen2_5_vit` see what transformers' models see, in natural order, inner layers too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from test_qwen2_vit import P, film, natural, pairs, patches
from torch import Tensor
from transformers import AutoConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5VisionModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from vidapt.connectors import merge_mlp
from vidapt.errors import ConfigError
from vidapt.nouns import Features, Grid
from vidapt.towers import qwen2_5_vit, qwen3_vit

COMMON = {
    "depth": 4,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "patch_size": P,
    "out_hidden_size": 8,
    "initializer_range": 0.2,
}
DEEP = {"model_type": "qwen3_vl_vision", "num_position_embeddings": 25, **COMMON}
FLAT = {**DEEP, "model_type": "qwen3_5_vision"}
WINDOWS = {"model_type": "qwen2_5_vl_vision", "window_size": 16, "fullatt_block_indexes": [2], **COMMON}
LEVELS = (0, 2)


def random(kind: Any, arch: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    model = kind._from_config(AutoConfig.for_model(**arch))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


ORACLES: dict[str, Callable[[], Any]] = {
    "qwen3_vl": lambda: random(Qwen3VLVisionModel, {**DEEP, "deepstack_visual_indexes": list(LEVELS)}),
    "qwen3_5": lambda: random(Qwen3_5VisionModel, FLAT),
    "qwen2_5_vl": lambda: random(Qwen2_5_VisionTransformerPretrainedModel, WINDOWS),
}


def build(name: str, oracle: Any, **fields: Any) -> Any:
    if name == "qwen2_5_vl":
        part: Any = qwen2_5_vit.Part(qwen2_5_vit.Part.Config(arch=WINDOWS, **fields))
    elif name == "qwen3_vl":
        part = qwen3_vit.Part(qwen3_vit.Part.Config(arch=DEEP, levels=LEVELS, **fields))
    else:
        part = qwen3_vit.Part(qwen3_vit.Part.Config(arch=FLAT, **fields))
    mergers = ("merger.", "deepstack_merger_list.")
    part.net.load_state_dict({k: x for k, x in oracle.state_dict().items() if not k.startswith(mergers)})
    return part.eval()


@pytest.fixture(params=ORACLES)
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    oracle = ORACLES[request.param]()
    return oracle, build(request.param, oracle)


@torch.no_grad()
def theirs(oracle: Any, part: Any, clip: Tensor) -> list[Tensor]:
    """States of the last layer and of each level, [t, h, w, C]."""
    slices = pairs(clip)
    grid = Grid(len(slices), slices.shape[-2] // P, slices.shape[-1] // P)
    kept: dict[int, Tensor] = {}
    hooks = [
        block.register_forward_hook(lambda module, given, made, index=index: kept.update({index: made}))
        for index, block in enumerate(oracle.blocks)
    ]
    oracle(patches(slices, part), grid_thw=torch.tensor([[grid.t, grid.h, grid.w]]))
    for hook in hooks:
        hook.remove()
    states = [kept[len(kept) - 1], *(kept[level] for level in getattr(part.cfg, "levels", ()))]
    if hasattr(part, "window"):
        order = blocks_in_windows(grid, part.window // 2).argsort()
        states = [state.unflatten(0, (-1, 4))[order].flatten(0, 1) for state in states]
    return [natural(state, grid) for state in states]


def blocks_in_windows(grid: Grid, side: int) -> Tensor:
    """Numbers of merged cells, window by window, from the facts: loops over windows that end at edges."""
    rows, columns = grid.h // 2, grid.w // 2
    order = [
        (t * rows + row) * columns + column
        for t in range(grid.t)
        for top in range(0, rows, side)
        for left in range(0, columns, side)
        for row in range(top, min(top + side, rows))
        for column in range(left, min(left + side, columns))
    ]
    return torch.tensor(order)


SIZES = [(1, 16, 24), (2, 8, 8), (5, 24, 40), (6, 8, 56)]


@torch.no_grad()
@pytest.mark.parametrize(("frames", "height", "width"), SIZES)
def test_features_equal_transformers(both: Any, frames: int, height: int, width: int) -> None:
    oracle, part = both
    clips = film(frames, height, width, clips=2)
    seen = part(clips)
    assert seen.grid == part.grid(frames, (height, width)) == Grid((frames + 1) // 2, height // P, width // P)
    for index, clip in enumerate(clips):
        expected = theirs(oracle, part, clip)
        found = [seen.x[index], *(level[index] for level in seen.levels)]
        assert len(found) == len(expected)
        for ours, one in zip(found, expected, strict=True):
            assert one.std() > 0.1
            torch.testing.assert_close(ours, one, atol=2e-5, rtol=0)


@torch.no_grad()
def test_slices_do_not_see_each_other_and_chunks_change_nothing(both: Any) -> None:
    _, part = both
    clip = film(9, 16, 24, clips=2)
    whole = part(clip)
    part._at_once = 48
    chunked = part(clip)
    torch.testing.assert_close(chunked.x, whole.x, atol=1e-5, rtol=0)
    torch.testing.assert_close(part(clip[:, 2:4]).x[:, 0], whole.x[:, 1], atol=1e-5, rtol=0)
    for one, other in zip(chunked.levels, whole.levels, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def _corners(part: Any) -> None:
    part.net.num_grid_per_side = 4
    part.net.pos_embed.weight.data = part.net.pos_embed.weight[:16]


def _turned(part: Any) -> None:
    rotary = part.net.rotary_pos_emb
    part.net.rotary_pos_emb = torch.nn.Module()
    part.net.rotary_pos_emb.forward = lambda x, places: rotary(x, places.flip(1))


def _larger_windows(part: Any) -> None:
    part.window *= 2


def _other_full_layer(part: Any) -> None:
    part.net.fullatt_block_indexes = [1]


def _not_put_back(part: Any) -> None:
    right = part._through
    part._through = lambda state, grid, count: (right(state, grid, count)[0][part._windows(grid, count)[0]],)


MISTAKES = [
    ("qwen3_5", _corners),
    ("qwen3_5", _turned),
    ("qwen2_5_vl", _turned),
    ("qwen2_5_vl", _larger_windows),
    ("qwen2_5_vl", _other_full_layer),
    ("qwen2_5_vl", _not_put_back),
]


@torch.no_grad()
@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_breaks_the_match(name: str, mistake: Callable[[Any], None]) -> None:
    oracle = ORACLES[name]()
    part, clip = build(name, oracle), film(2, 24, 40)
    expected = theirs(oracle, part, clip[0])[0]
    torch.testing.assert_close(part(clip).x[0], expected, atol=2e-5, rtol=0)
    mistake(part)
    assert (part(clip).x[0] - expected).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("name", ORACLES)
def test_tokens_of_every_depth_equal_transformers(name: str) -> None:
    oracle = ORACLES[name]()
    part, clip = build(name, oracle), film(3, 16, 24)
    depths = tuple(range(len(getattr(part.cfg, "levels", ()))))
    fields = {"norm": "rms"} if name == "qwen2_5_vl" else {"depths": depths}
    connector = merge_mlp.Part(merge_mlp.Part.Config(**fields), width_in=16, width_out=8)
    connector.load_state_dict(dict(_ours(oracle)))
    tokens = connector(part(clip))
    slices = pairs(clip[0])
    out = oracle(patches(slices, part), grid_thw=torch.tensor([[len(slices), 4, 6]]))
    assert (tokens.grid, len(tokens.deep)) == (Grid(2, 2, 3), len(depths))
    torch.testing.assert_close(tokens.x[0], out.pooler_output, atol=2e-5, rtol=0)
    for one, other in zip(tokens.deep, getattr(out, "deepstack_features", ()), strict=True):
        torch.testing.assert_close(one[0], other, atol=2e-5, rtol=0)


def _ours(oracle: Any) -> Any:
    for key, x in oracle.state_dict().items():
        if "merger" in key:
            key = key.removeprefix("merger.").replace("deepstack_merger_list.", "deep.")
            key = key.replace("linear_fc1", "mlp.0").replace("linear_fc2", "mlp.2")
            yield key.replace("ln_q", "norm"), x


def test_levels_that_are_not_there_are_refused() -> None:
    for levels in ((4,), (-1,), (2, 0), (1, 1)):
        with pytest.raises(ConfigError, match="in a tower of 4 layers"):
            qwen3_vit.Part(qwen3_vit.Part.Config(arch=DEEP, levels=levels))


def test_depths_without_levels_are_refused() -> None:
    connector = merge_mlp.Part(merge_mlp.Part.Config(depths=(0, 1)), width_in=16, width_out=8)
    assert connector.depths == (0, 1)
    with pytest.raises(ValueError, match=r"\[0, 1\], one level for each; the tower gave 0"):
        connector(Features(torch.zeros(1, 1, 2, 2, 16)))


def test_windows_without_a_block_are_refused() -> None:
    with pytest.raises(ConfigError, match="hold no block"):
        qwen2_5_vit.Part(qwen2_5_vit.Part.Config(arch={**WINDOWS, "window_size": 4}))


@pytest.mark.parametrize("kind", [qwen2_5_vit, qwen3_vit])
def test_another_architecture_is_refused(kind: Any) -> None:
    with pytest.raises(ValidationError, match="clip_vision_model"):
        kind.Part.Config(arch={"model_type": "clip_vision_model"})
