"""What learns, how fast, and what stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_tools import blueprint, random_features, recipe, silent, stage, video_lm, write_clips

from vidapt.errors import ConfigError
from vidapt.loading import open_model
from vidapt.models.packed import Group, pack
from vidapt.models.text import encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Sample, Turn
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import LoRA, Optimizer, Trained
from vidapt.training.freeze import adapter_weights, set_trainable, trainable, training_mode
from vidapt.training.optimizer import make_optimizer
from vidapt.training.run import train
from vidapt.training.schedule import rate_factor, set_rates
from vidapt.training.stage import make_objective


def learning(model: VideoLM) -> set[str]:
    return {name.partition(".")[0] for name, _ in trainable(model, NextToken(NextToken.Config()))}


@pytest.mark.parametrize("towers", ["frozen", "full"])
@pytest.mark.parametrize("connector", ["frozen", "full"])
@pytest.mark.parametrize("language", ["frozen", "full", "lora"])
def test_switches_free_exactly_the_parts_they_name(towers: Any, connector: Any, language: Any) -> None:
    if (towers, connector, language) == ("frozen",) * 3:
        with pytest.raises(ValueError, match="nothing would be trained"):
            Trained(towers=towers, connector=connector, language=language)
        return
    model = video_lm()
    settings = Trained(towers=towers, connector=connector, language=language)
    set_trainable(model, settings)
    training_mode(model, settings)
    asked = {"towers": towers, "connector": connector, "language": language}
    assert learning(model) == {part for part, how in asked.items() if how != "frozen"}
    for part, how in asked.items():
        assert getattr(model, part).training == (how != "frozen")


def test_weights_a_tower_never_uses_are_not_trained_when_it_is_freed() -> None:
    model = video_lm()
    assert any(name.startswith("towers.0.net.post_layernorm") for name in model.fixed)
    set_trainable(model, Trained(towers="full"))
    free = {name for name, _ in trainable(model, NextToken(NextToken.Config()))}
    assert not free & model.fixed
    assert any(name.startswith("towers.") for name in free)


def test_only_adapters_learn_under_lora() -> None:
    model = video_lm()
    set_trainable(model, Trained(connector="frozen", language="lora", lora=LoRA(rank=2)))
    names = [name for name, _ in trainable(model, NextToken(NextToken.Config()))]
    assert {name.split(".")[-3] for name in names} == {"lora_A", "lora_B"}
    layers = 7 * 2
    assert len(names) == 2 * layers == len(list(adapter_weights(model.language)))
    assert model.blueprint.adapters == LoRA(rank=2)


def test_targets_can_be_chosen_and_unknown_ones_are_refused() -> None:
    model = video_lm()
    set_trainable(model, Trained(language="lora", lora=LoRA(targets=("q_proj",))))
    assert len(list(adapter_weights(model.language))) == 2 * 2
    with pytest.raises(ConfigError, match=r"linear layers here: .*q_proj"):
        set_trainable(video_lm(), Trained(language="lora", lora=LoRA(targets=("qproj",))))


def test_a_models_adapters_go_on_where_nothing_else_is_asked_for() -> None:
    model = video_lm(adapters={"rank": 3})
    before = [weight.clone() for weight in adapter_weights(model.language)]
    assert not set_trainable(model, Trained(language="lora"))
    assert not set_trainable(model, Trained(language="lora", lora=LoRA(rank=3)))
    after = list(adapter_weights(model.language))
    assert len(after) == 2 * 7 * 2
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (LoRA(rank=3, alpha=64, dropout=0.1), "go on, with alpha 64 in place of 6"),
        (LoRA(rank=5), "of rank 3 on 14 layers, are merged"),
        (LoRA(rank=3, targets=("q_proj", "v_proj")), "are merged"),
    ],
    ids=["other alpha", "other rank", "other layers"],
)
def test_other_adapters_take_the_place_of_a_models_which_says_the_same_as_before(
    asked: LoRA, said: str
) -> None:
    model = video_lm(adapters={"rank": 3, "alpha": 6})
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        before = model.language(input_ids=ids).logits
        assert said in set_trainable(model, Trained(language="lora", lora=asked))
        after = model.eval().language(input_ids=ids).logits
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    assert model.blueprint.adapters == asked
    again = VideoLM(model.blueprint)
    assert again.state_dict().keys() == model.state_dict().keys()
    learned = {name for name, _ in trainable(model, NextToken(NextToken.Config())) if "language" in name}
    assert learned == {name for name, _ in again.named_parameters() if ".lora_" in name}
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval().language(input_ids=ids).logits, after)


def test_new_adapters_of_layers_that_there_are_not_are_refused() -> None:
    with pytest.raises(ConfigError, match="linear layers here"):
        set_trainable(video_lm(adapters={"rank": 3}), Trained(language="lora", lora=LoRA(targets=("qproj",))))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), clips=2, questions=2)


def logits(model: VideoLM, words: Any) -> Tensor:
    sample = Sample(
        "", (Clip("c", Path("c")),), (Turn("user", "what is it?"), Turn("assistant", "it is red"))
    )
    features = random_features(3, torch.float32, 0)
    encoded = encode(sample, model.blueprint.prompt, words)
    row = Group((encoded,), ((model.connector.plan(features.grid),),))
    with torch.no_grad():
        return model(pack([row], model.positions), model.connect(features).x[0])


def test_an_adapted_model_reopens_with_equal_outputs(labels: Path, tmp_path: Path) -> None:
    run = train(
        recipe(stage(labels, train={"language": "lora", "lora": {"rank": 2}})), tmp_path, silent, workers=0
    )
    model, words = open_model(run)
    again, _ = open_model(run / "01-a" / "model")
    assert model.blueprint.adapters == LoRA(rank=2)
    assert torch.equal(logits(model, words), logits(again, words))
    with torch.no_grad():
        for weight in adapter_weights(model.language):
            weight.zero_()
    assert not torch.equal(logits(model, words), logits(again, words))


@pytest.mark.parametrize(
    "train_settings",
    [
        {"towers": "full", "connector": "frozen", "language": "frozen"},
        {"towers": "frozen", "connector": "full", "language": "frozen"},
        {"towers": "frozen", "connector": "frozen", "language": "full"},
        {"towers": "frozen", "connector": "frozen", "language": "lora"},
    ],
)
def test_frozen_parts_do_not_change_and_others_do(
    labels: Path, tmp_path: Path, train_settings: dict[str, str]
) -> None:
    first = train(recipe(stage(labels, "a", steps=1)), tmp_path / "start", silent, workers=0)
    before, _ = open_model(first)
    plan = recipe(stage(labels, "b", train=train_settings), blueprint=None, start=str(first))
    after, _ = open_model(train(plan, tmp_path / "runs", silent, workers=0))
    old, new = before.state_dict(), after.state_dict()
    for part, how in train_settings.items():
        names = [name for name in old if name.startswith(part)]
        base = [name.replace("_proj.", "_proj.base_layer.") if how == "lora" else name for name in names]
        equal = [torch.equal(old[a], new[b]) for a, b in zip(names, base, strict=True)]
        assert all(equal) == (how != "full"), part
    adapters = [tensor for name, tensor in new.items() if ".lora_B." in name]
    assert bool(adapters) == (train_settings["language"] == "lora")
    assert all(bool(tensor.any()) for tensor in adapters)


def test_every_part_has_its_rate_and_vectors_do_not_decay() -> None:
    model = video_lm()
    set_trainable(model, Trained(towers="full"))
    settings = Optimizer.model_validate(
        {"rates": {"towers": 1e-5, "connector": 2e-4, "language": 3e-5}, "weight_decay": 0.1}
    )
    optimizer = make_optimizer(model, NextToken(NextToken.Config()), settings)
    assert {(group["part"], group["lr"]) for group in optimizer.param_groups} == {
        ("towers", 1e-5),
        ("connector", 2e-4),
        ("language", 3e-5),
    }
    for group in optimizer.param_groups:
        assert {weight.ndim > 1 for weight in group["params"]} == {group["weight_decay"] > 0}
    counted = sum(len(group["params"]) for group in optimizer.param_groups)
    assert counted == len(list(trainable(model, NextToken(NextToken.Config()))))


def test_rates_warm_up_and_decay_to_their_floor() -> None:
    cosine = Optimizer(warmup=0.1, floor=0.2)
    factors = [rate_factor(cosine, step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[9] == pytest.approx(10 / 11)
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.2 + 0.8 * 0.5)
    assert sorted(factors[10:], reverse=True) == factors[10:]
    assert factors[-1] == pytest.approx(0.2, abs=1e-3)
    linear = Optimizer(warmup=0, decay="linear")
    assert [rate_factor(linear, step, 4) for step in range(4)] == [1, 0.75, 0.5, 0.25]
    assert rate_factor(Optimizer(warmup=0, decay="constant"), 7, 8) == 1
    optimizer = torch.optim.AdamW([{"params": [torch.zeros(1)], "lr": 1.0, "peak": 0.5}])
    set_rates(optimizer, linear, 2, 4)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_an_objective_with_weights_of_its_own_gets_the_same_ones_each_time() -> None:
    plan = recipe(
        stage(
            Path("labels.jsonl"),
            objective={"kind": "track_state", "things": 2},
            train={"language": "frozen"},
        ),
        blueprint=blueprint(),
    )
    model = video_lm(connector={"kind": "track", "slots": 3, "scene": 0, "frames": 2, "hidden": 16})
    first = make_objective(plan.stages[0], model, 3)
    again = make_objective(plan.stages[0], model, 3)
    other = make_objective(plan.stages[0], model, 4)
    names = dict(first.named_parameters())
    assert names
    assert all(torch.equal(names[name], weight) for name, weight in again.named_parameters())
    assert not all(torch.equal(names[name], weight) for name, weight in other.named_parameters())
