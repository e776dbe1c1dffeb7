"""How much of a part learns: norms, last layers, adapters of towers; and how fast each layer does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from align_tools import dual
from torch import nn
from training_tools import recipe, silent, stage, tokenizer, video_lm, write_clips

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.hub import export_merged
from vidapt.loading import open_model
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.folder import open_folder, save_model
from vidapt.models.lora import add_tower_adapters
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import View, Views
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Blueprint, Cache, DualBlueprint, LoRA, Optimizer, Trained
from vidapt.training.footage import Footage
from vidapt.training.freeze import set_trainable, trainable
from vidapt.training.layers import distances, layers_of
from vidapt.training.optimizer import make_optimizer
from vidapt.training.run import train

FROZEN = {"towers": "frozen", "connector": "frozen", "language": "frozen"}


def free(model: Any, **learns: Any) -> set[str]:
    set_trainable(model, Trained.model_validate({**FROZEN, **learns}))
    return {name for name, _ in trainable(model, NextToken(NextToken.Config()))}


def test_norms_are_told_by_what_they_are() -> None:
    found = free(video_lm(), language="norms", towers="norms")
    assert {name for name in found if name.startswith("language")} == {
        "language.model.norm.weight",
        *(
            f"language.model.layers.{n}.{which}_layernorm.weight"
            for n in (0, 1)
            for which in ("input", "post_attention")
        ),
    }
    towers = {name.removeprefix("towers.0.net.") for name in found if name.startswith("towers")}
    # The second layer and the last norm are never used: the model reads the state before.
    assert towers == {
        f"{place}.{what}"
        for place in ("pre_layrnorm", "encoder.layers.0.layer_norm1", "encoder.layers.0.layer_norm2")
        for what in ("weight", "bias")
    }


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_last_layers_learn_with_what_stands_behind_them(*, tied: bool) -> None:
    model = video_lm(language={"num_hidden_layers": 3, "tie_word_embeddings": tied})
    found = free(model, language={"last": 2})
    places = {name.removeprefix("language.").split(".self_attn")[0].split(".mlp")[0] for name in found}
    outer = {place for place in places if "layernorm" not in place}
    assert outer == {"model.layers.1", "model.layers.2", "model.norm.weight"} | (
        set() if tied else {"lm_head.weight"}
    )
    assert not any("layers.0." in name for name in found)


def test_the_last_layer_of_a_tower_is_the_last_one_that_is_used() -> None:
    found = free(video_lm(), towers={"last": 1})
    assert found
    assert all(name.startswith("towers.0.net.encoder.layers.0.") for name in found)


def test_layers_that_there_are_not_are_refused_by_their_number() -> None:
    with pytest.raises(ConfigError, match="has 2 layers in a row, 3 are asked for") as caught:
        free(video_lm(), language={"last": 3})
    assert "train.language" in str(caught.value)
    assert "give a number up to 2" in str(caught.value)
    with pytest.raises(ConfigError, match="has no list of layers"):
        free(video_lm(), connector={"last": 1})


def test_what_a_later_stage_cannot_train_is_told_before_the_first_begins(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=1, questions=1)
    plan = recipe(stage(labels, "a"), stage(labels, "b", train={"language": {"last": 9}}))
    with pytest.raises(ConfigError, match=r"stage b, train\.language"):
        train(plan, tmp_path / "runs", silent, workers=0)
    assert not (tmp_path / "runs" / "run" / "01-a").exists()


def test_part_of_a_dual_encoder_learns_too() -> None:
    model = DualEncoder(DualBlueprint.model_validate(dual()))
    set_trainable(model, Trained.model_validate({"text": {"last": 1}, "projections": "frozen"}))
    depth = model.text.depth
    found = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert any(f"layers.{depth - 1}." in name for name in found)
    assert not any("embedding" in name for name in found)
    with pytest.raises(ConfigError, match="a dual encoder has no adapters"):
        set_trainable(model, Trained(towers="lora"))


def test_experts_are_no_layers() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(1, 1) for _ in range(9))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front = nn.Linear(1, 1, bias=False)
            self.layers = nn.ModuleList(Layer() for _ in range(2))
            self.behind = nn.Linear(1, 1, bias=False)

    net = Net()
    assert layers_of(net) == list(net.layers)
    away = distances(net)
    assert (away[id(net.front.weight)], away[id(net.behind.weight)]) == (3, 0)
    assert [away[id(layer.experts[4].bias)] for layer in net.layers] == [2, 1]


def test_every_layer_learns_slower_than_the_next() -> None:
    model = video_lm(language={"num_hidden_layers": 3})
    set_trainable(model, Trained(towers="full"))
    settings = Optimizer.model_validate(
        {
            "rates": {"language": 1e-2, "towers": 1e-3},
            "layer_decay": {"language": 0.5, "towers": 0.1},
            "weight_decay": 0.5,
        }
    )
    optimizer = make_optimizer(model, NextToken(NextToken.Config()), settings)
    rate = {id(weight): group["peak"] for group in optimizer.param_groups for weight in group["params"]}
    language = model.language.model
    assert rate[id(model.language.lm_head.weight)] == rate[id(language.norm.weight)] == 1e-2
    assert [rate[id(one.mlp.up_proj.weight)] for one in language.layers] == pytest.approx(
        [1.25e-3, 2.5e-3, 5e-3]
    )
    assert rate[id(language.embed_tokens.weight)] == pytest.approx(6.25e-4)
    tower = model.tower.net
    assert rate[id(tower.encoder.layers[0].mlp.fc1.weight)] == pytest.approx(1e-4)
    assert rate[id(tower.embeddings.patch_embedding.weight)] == pytest.approx(1e-5)
    assert rate[id(next(model.connector.parameters()))] == 1e-4
    decays = {
        id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]
    }
    assert decays[id(language.layers[0].mlp.up_proj.weight)] == 0.5
    assert decays[id(language.layers[0].input_layernorm.weight)] == 0.0
    assert len(rate) == sum(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("kind", parts.kinds("towers"))
def test_adapters_of_every_kind_of_tower_change_what_it_sees_and_learn(kind: str) -> None:
    module = __import__(f"vidapt.towers.{kind}", fromlist=["tiny"])
    torch.manual_seed(0)
    tower = module.tiny()
    unused = {id(weight) for weight in tower.parameters() if not weight.requires_grad}
    frames = getattr(tower.cfg, "frames", 2) or 2
    views = torch.randint(0, 255, (1, frames, 3, *tower.size), dtype=torch.uint8)
    before = tower(views).x
    add_tower_adapters(nn.ModuleList([tower]), LoRA(rank=2), unused)
    assert torch.equal(tower(views).x, before), "they begin with nothing"
    adapters = {name: weight for name, weight in tower.named_parameters() if ".lora_" in name}
    assert adapters
    for weight in adapters.values():
        torch.nn.init.normal_(weight, std=0.5)
    seen = tower(views)
    assert not torch.allclose(seen.x, before)
    sum(one.square().sum() for one in (seen.x, *seen.levels)).backward()
    idle = [name for name, weight in adapters.items() if weight.grad is None or not weight.grad.any()]
    assert idle == []


def adapted_run(labels: Path, runs: Path, *stages: dict[str, Any]) -> Path:
    return train(recipe(*stages), runs, silent, workers=0)


def see(model: VideoLM) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    view = torch.randint(0, 255, (1, 3, 3, 16, 16), generator=generator, dtype=torch.uint8)
    plan, _ = model.plan((16, 16), 3)
    with torch.no_grad():
        tokens = model.visual([model.see_views(Views((view,), plan))])
    assert plan.views == (View((16, 16)),)
    assert tokens is not None
    return tokens


def test_adapters_of_a_tower_are_trained_saved_opened_and_merged(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=2, questions=1)
    both = {
        "towers": "lora",
        "connector": "frozen",
        "language": "lora",
        "towers_lora": {"rank": 3, "alpha": 6},
    }
    hot = {"optimizer": {"rates": {"towers": 0.1, "language": 0.1}}}
    run = adapted_run(labels, tmp_path, stage(labels, train=both, **hot))
    model, words = open_model(run)
    assert model.blueprint.tower_adapters == LoRA(rank=3, alpha=6)
    ups = [weight for name, weight in model.named_parameters() if "towers" in name and ".lora_B." in name]
    assert len(ups) == 6, "those of the layer that is used"
    assert all(weight.any() for weight in ups)
    export_merged(tmp_path / "merged", model, words, {})
    merged, _ = open_folder(tmp_path / "merged")
    assert merged.blueprint.tower_adapters is None
    assert not any(".lora_" in name for name in merged.state_dict())
    torch.testing.assert_close(see(merged), see(model), rtol=1e-4, atol=1e-5)
    plain = VideoLM(merged.blueprint)
    plain.load_state_dict(merged.state_dict())
    for weight in ups:
        with torch.no_grad():
            weight.zero_()
    assert not torch.allclose(see(plain), see(model)), "they counted"


def test_adapters_of_a_tower_go_on_or_are_replaced(tmp_path: Path) -> None:
    model = video_lm(tower_adapters={"rank": 2, "alpha": 4})
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "towers" in name and ".lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.3)
    before = see(model)
    save_model(tmp_path / "saved", model, tokenizer(), {})
    opened, _ = open_folder(tmp_path / "saved")
    assert torch.equal(see(opened), before)
    assert set_trainable(model, Trained(towers="lora")) == ""
    assert torch.equal(see(model), before)
    for asked, told in (
        (LoRA(rank=2, alpha=8), "with alpha 8"),
        (LoRA(rank=5), "are merged; new ones begin"),
    ):
        assert told in set_trainable(model, Trained(towers="lora", towers_lora=asked))
        assert model.blueprint.tower_adapters == asked
        torch.testing.assert_close(see(model), before, rtol=1e-4, atol=1e-5)


def test_targets_that_no_tower_has_are_named() -> None:
    with pytest.raises(ConfigError, match="no layer of the towers is called q_prj") as caught:
        VideoLM(
            Blueprint.model_validate(
                video_lm().blueprint.model_dump() | {"tower_adapters": {"targets": ["q_prj", "fc1"]}}
            )
        )
    assert "'q_proj'" in str(caught.value)


def test_what_a_frozen_tower_sees_is_kept_anew_where_its_adapters_are_stronger(tmp_path: Path) -> None:
    """How strong they are stands in no weight."""

    def kept(**adapters: Any) -> Path:
        model = video_lm(tower_adapters={"rank": 2, **adapters})
        footage = Footage(model, Cache(), tmp_path, tower_trains=False, needs_views=False, workers=0)
        assert footage.store is not None
        return footage.store.folder

    assert kept(alpha=4.0) == kept(alpha=4.0) != kept(alpha=8.0)
