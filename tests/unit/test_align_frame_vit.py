"""`frame_vit` as a dual encoder's tower: what learns, where local losses look, and what `look` can show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from align_tools import dual, recipe, silent, stage, train, write_captioned
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.hub import open_dual_encoder
from vidapt.loading import locate_dual
from vidapt.models.attention_maps import tower_maps
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.word_maps import word_map
from vidapt.nouns import Features
from vidapt.objectives.align import Part as Align
from vidapt.recipe import DualBlueprint

SIZES = {
    "hidden_size": 16,
    "image_size": 16,
    "patch_size": 8,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
}
CLIP = {"model_type": "clip_vision_model", "num_attention_heads": 2, **SIZES}
SIGLIP = {"model_type": "siglip_vision_model", "num_attention_heads": 2, **SIZES}
POOLS = {"kind": "frame_vit", "layer": -1, "drop_class_token": False}
ARCHS = pytest.mark.parametrize("arch", [CLIP, SIGLIP], ids=["CLIP", "SigLIP"])


def data(arch: dict[str, Any] = CLIP, **tower: Any) -> dict[str, Any]:
    return dual(tower={**POOLS, "arch": arch, **tower})


def build(arch: dict[str, Any] = CLIP, **tower: Any) -> DualEncoder:
    plan = data(arch, **tower)
    plan["text"]["arch"] |= {"vocab_size": 30, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    model = DualEncoder(DualBlueprint.model_validate(plan))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        model.logit_scale.fill_(2.0)
    return model


class Batch:
    """Three clips of two frames, and four texts."""

    ids = torch.tensor([[1, 5, 6, 29], [1, 7, 29, 0], [1, 8, 5, 29], [1, 9, 29, 0]])
    real = ids > 0
    clip_of, group = torch.tensor([0, 1, 2, 2]), torch.arange(3)
    false_of = torch.zeros(0, dtype=torch.long)

    def __init__(self, views: Tensor | None, features: Features | None = None) -> None:
        self.views, self.features = views, features


def views() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, 2, 3, 16, 16), dtype=torch.uint8, generator=generator)


LEVELS = [
    *({"patches": level, "tokens": level} for level in ("embedding", "layer:1", "encoder", "projected")),
    {"every_layer": True},
]


def objective(model: DualEncoder, **level: Any) -> Align:
    local = {"kind": "local_align", "sparsify": "top_k", "k": 3, **level}
    part = Align(Align.Config(terms=({"kind": "contrastive"}, local)))
    torch.manual_seed(0)
    part.prepare(model)
    return part


@ARCHS
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.get("patches", "every_layer"))
def test_gradients_reach_all_that_learns(arch: dict[str, Any], level: dict[str, Any]) -> None:
    model = build(arch)
    part = objective(model, **level)
    loss = part(model, Batch(views()))
    loss.total.backward()
    assert loss.total.isfinite()
    learns = [*model.named_parameters(), *part.named_parameters()]
    assert model.fixed == frozenset()
    assert all(weight.requires_grad for _, weight in learns)
    # A softmax does not see what is the same for all keys.
    blind = [name for name, weight in learns if weight.grad is None or not weight.grad.any()]
    assert not [name for name in blind if not name.endswith("k_proj.bias")]


@ARCHS
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.get("patches", "every_layer"))
def test_a_step_against_the_gradient_helps(arch: dict[str, Any], level: dict[str, Any]) -> None:
    model = build(arch)
    part = objective(model, **level)
    before = part(model, Batch(views())).total
    before.backward()
    with torch.no_grad():
        for weight in (*model.parameters(), *part.parameters()):
            assert weight.grad is not None
            weight -= 1e-3 * weight.grad
        assert part(model, Batch(views())).total < before


@torch.no_grad()
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.get("patches", "every_layer"))
def test_levels_are_the_towers_own_states(level: dict[str, Any]) -> None:
    model = build()
    part = objective(model, **level)
    pairs = part.pairs_of(model, Batch(views()))
    name = level.get("patches", "layer:2")
    *_, last = states = list(model.tower.states(views()))
    which = {"embedding": states[0], "layer:1": states[1]}.get(name, last)
    cells = which[:, :, 1:].flatten(1, 2)
    if name == "projected":
        cells = model.visual_projection(model.tower.net.post_layernorm(cells))
    torch.testing.assert_close(pairs.patches(name), cells)
    pooled = model.visual_projection(model.tower.net.post_layernorm(last[:, :, 0]))
    frames = F.normalize(pooled, dim=-1)
    torch.testing.assert_close(pairs.videos, F.normalize(frames.mean(1), dim=-1))


@torch.no_grad()
@ARCHS
def test_kept_features_are_enough_for_the_outer_levels(arch: dict[str, Any]) -> None:
    model = build(arch).eval()
    for level in ("encoder", "projected"):
        part = objective(model, patches=level, tokens=level)
        assert not part.needs_views
        seen, kept = (
            part(model, batch).total for batch in (Batch(views()), Batch(None, model.tower(views())))
        )
        torch.testing.assert_close(seen, kept)


@pytest.mark.parametrize("proxies", [True, False])
def test_class_tokens_count_among_patches_when_asked(proxies: bool) -> None:
    model = build()
    part = Align(Align.Config(terms=({"kind": "contrastive"},), proxies=proxies))
    pairs = part.pairs_of(model, Batch(views()))
    assert pairs.patches("encoder").shape == (3, 2 * 4 + 2 * proxies, 16)


@pytest.mark.parametrize("wrong", [{"layer": -2}, {"drop_class_token": True}])
def test_a_tower_that_cannot_pool_is_refused_when_the_model_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cannot pool"):
        build(**wrong)


@ARCHS
def test_what_the_tower_attends_to_can_be_shown(arch: dict[str, Any]) -> None:
    model = build(arch).eval()
    maps = tower_maps(model.tower, views()[:1])
    assert maps.default_token() == ("class" if arch is CLIP else "received")
    assert maps.pick().shape == (2, 2, 2)
    where, _ = word_map(model, views()[:1], torch.tensor([[1, 5, 6, 29]]), torch.tensor([0, 1, 0, 0]).bool())
    assert where.shape == (2, 2, 2)
    assert where.max() <= 1


@pytest.mark.parametrize("train_towers", ["full", "frozen"])
def test_a_stage_runs_from_recipe_to_model(tmp_path: Path, train_towers: str) -> None:
    labels = write_captioned(tmp_path / "clips", clips=3)
    cache = {"keep": "features"} if train_towers == "frozen" else {}
    plan = recipe(
        stage(labels, steps=2, train={"towers": train_towers}, cache=cache), dual=data(), name="frames"
    )
    run = train(plan, tmp_path, silent, workers=0)
    model, tokenizer, _ = open_dual_encoder(locate_dual(run))
    assert tokenizer is not None
    assert model.blueprint.tower["kind"] == "frame_vit"
    seen = model.encode_video(views())
    torch.testing.assert_close(seen.norm(dim=-1), torch.ones(3))
