"""A new model out of parts of others: every tensor in its place, and counted."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import compose_tools as tools
import pytest
import torch
import two_tower_tools as two
import yaml
from torch import Tensor
from training_tools import assert_equal, silent, stage, tokenizer, weights, write_clips
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    CLIPVisionModel,
    ConvNextModel,
    SiglipVisionModel,
)

from vidapt.hub import open_dual_encoder
from vidapt.loading import compares, compose, open_model, shipped
from vidapt.loading.compose import Plan, Sources
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint, Recipe
from vidapt.towers import clip_vip
from vidapt.training.run import train

FROZEN = {"towers": "frozen", "connector": "full", "language": "frozen"}
Made = Callable[..., list[str]]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), clips=3, questions=2)


def planned(towers: list[Any], language: Any, connector: Any = None, **changes: Any) -> Plan:
    given = {"towers": towers, "connector": connector or {"kind": "pool_mlp"}, "language": language}
    blueprint = Blueprint.model_validate(given | changes)
    return compose.plan(blueprint, Sources((), 0), lambda where: ".".join(map(str, where)))


def made_of(*parts: Any, **changes: Any) -> tuple[VideoLM, Mapping[str, Any]]:
    plan = planned(*parts, **changes)
    return plan.make(plan.blueprint, seed=0)


def recipe(labels: Path, **changes: Any) -> Recipe:
    stages = [stage(labels, train=FROZEN, steps=changes.pop("steps", 2))]
    return Recipe.model_validate({"name": "run", "stages": stages, **changes})


def film(side: int = tools.SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 2, 3, side, side), dtype=torch.uint8, generator=generator)


def pixels(tower: Any, views: Tensor) -> Tensor:
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (tower.mean, tower.std))
    return (views[0].float() / 255 - mean) / std


def cells(model: VideoLM, views: Tensor) -> Tensor:
    return model.see(views).x.flatten(2, 3)[0]


# What is in a part's folder is what the part computes


@pytest.mark.parametrize("source", ["clip", "clip_pickled", "clip_tower", "siglip"])
@torch.no_grad()
def test_a_tower_sees_what_transformers_sees(made: Made, source: str) -> None:
    place, words = made(source, "llama")
    model, _ = made_of([{"weights": place}], {"weights": words})
    oracle = (SiglipVisionModel if source == "siglip" else CLIPVisionModel).from_pretrained(place).eval()
    states = oracle(pixels(model.tower, film()), output_hidden_states=True).hidden_states[-2]
    found = cells(model, film())
    torch.testing.assert_close(found, states[:, -found.shape[1] :], atol=1e-5, rtol=1e-5)
    assert model.blueprint.towers[0]["kind"] == "frame_vit"
    assert "weights" not in model.blueprint.towers[0]


@pytest.mark.parametrize("registers", [False, True])
@torch.no_grad()
def test_dinov2_sees_what_transformers_sees(made: Made, tmp_path: Path, registers: bool) -> None:
    place = tools.dinov2(tmp_path / "dinov2", registers=registers)
    model, _ = made_of([{"weights": str(place)}], {"weights": made("llama")[0]})
    seen = AutoModel.from_pretrained(place).eval()(pixels(model.tower, film())).last_hidden_state
    found = cells(model, film())
    torch.testing.assert_close(found, seen[:, -found.shape[1] :], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_convnext_sees_what_transformers_sees(made: Made) -> None:
    place, words = made("convnext", "llama")
    model, report = made_of([{"weights": place}], {"weights": words})
    oracle = ConvNextModel.from_pretrained(place).eval()
    first = oracle(pixels(model.tower, film(64)), output_hidden_states=True).hidden_states[1]
    found = model.see(film(64)).x[0].permute(0, 3, 1, 2)[:, :2]
    torch.testing.assert_close(found, first, atol=1e-5, rtol=1e-5)
    ignored = report["sources"][0]["ignored"]
    assert {key.rpartition(".")[0] for key in ignored} == {"classifier", "layernorm"}


@pytest.mark.parametrize("source", ["open_clip", "timm"])
@torch.no_grad()
def test_convnexts_by_timms_names_follow_the_equations(made: Made, source: str) -> None:
    place, words = made(source, "llama")
    model, report = made_of([{"weights": place}], {"weights": words})
    trunk = two.doubled(two.timm_convnext((2, 4, 4, 6), (1, 1, 2, 1), ""))
    frame = pixels(model.tower, film(32))[0].permute(1, 2, 0).double()
    found = model.see(film(32)).x[0, 0].double()
    torch.testing.assert_close(found, two.convnext(frame, trunk), atol=1e-4, rtol=1e-4)
    (told, _) = report["sources"]
    assert told["tensors"] == len(told["matched"]) + len(told["ignored"])
    assert len(told["ignored"]) == (7 if source == "open_clip" else 1)


@pytest.mark.parametrize("source", ["clip", "siglip", "dinov2", "convnext"])
def test_pixels_are_normalised_as_the_processor_says(made: Made, source: str) -> None:
    place, words = made(source, "llama")
    (tower,) = planned([{"weights": place}], {"weights": words}).blueprint.towers
    assert tower["std"] == ([0.5, 0.5, 0.5] if source == "siglip" else tools.STD)
    own = {"weights": place, "std": [0.1, 0.1, 0.1]}
    (tower,) = planned([own], {"weights": words}).blueprint.towers
    assert tower["std"] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("source", ["llama", "gemma"])
@torch.no_grad()
def test_the_language_model_answers_as_transformers_does(made: Made, source: str) -> None:
    place, eyes = made(source, "clip")
    model, report = made_of([{"weights": eyes}], {"weights": place}, prompt={"start": "<s>"})
    oracle = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    ids = torch.tensor([[1, 5, 9, 33, 2]])
    model.language.set_attn_implementation("sdpa")
    torch.testing.assert_close(model.language(ids).logits, oracle(ids).logits, atol=1e-5, rtol=1e-5)
    head, words = model.language.get_output_embeddings().weight, model.language.get_input_embeddings().weight
    assert (head is words) == (source == "gemma")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert report["sources"][1]["tensors"] == len(tools.stored(Path(place)))


def test_choices_are_the_recipes(made: Made) -> None:
    place, words = made("clip", "llama")
    chosen = {"weights": place, "layer": -1, "drop_class_token": False, "frames_at_once": 3}
    connector = {"kind": "pool_mlp", "extra_per_frame": 1}
    longer = {"weights": words, "max_position_embeddings": 4096}
    model, _ = made_of([chosen], longer, connector)
    assert (model.tower.cfg.layer, model.tower.cfg.frames_at_once) == (-1, 3)
    assert model.see(film()).extra is not None
    assert model.language.config.max_position_embeddings == 4096


# Kinds of towers that can be read as others


@torch.no_grad()
def test_image_clip_begins_a_clip_vip(made: Made) -> None:
    place, words = made("clip", "llama")
    spec = {"kind": "clip_vip", "weights": place, "frames": 5, "added": 2}
    connector = {"kind": "pool_mlp", "extra_per_clip": 3}
    model, report = made_of([spec], {"weights": words}, connector)
    assert isinstance(model.tower, clip_vip.Part)
    assert model.tower.temporal.shape == (1, 5, tools.WIDTH)
    assert not model.tower.temporal.any()
    assert model.tower.added.shape == (2, tools.WIDTH)
    assert report["sources"][0]["initialised"] == ("towers.0.added", "towers.0.temporal")
    assert {"towers.0.added", "towers.0.temporal"} < set(report["begins_at_random"])
    theirs = tools.stored(Path(place))["vision_model.embeddings.class_embedding"]
    assert model.tower.net.embeddings.class_embedding.equal(theirs)


@torch.no_grad()
def test_siglip_is_read_in_its_own_proportions(made: Made) -> None:
    place, words = made("siglip", "llama")
    model, report = made_of([{"kind": "siglip_navit", "weights": place}], {"weights": words})
    assert model.see(film()[..., : tools.SIDE // 2]).grid.w == tools.SIDE // tools.PATCH // 2
    assert set(report["sources"][0]["ignored"].values()) == {
        "the text tower is not taken",
        "the tower is read without its pooling head",
    }


@torch.no_grad()
def test_long_clip_is_read_by_its_patches(made: Made) -> None:
    place, words = made("long_clip.pt", "llama")
    model, report = made_of([{"kind": "frame_vit", "weights": place}], {"weights": words})
    theirs, _, _ = open_dual_encoder(Path(place))
    state = list(theirs.tower.net.encoder.layers)
    assert model.tower.net.encoder.layers[0].mlp.fc1.weight.equal(state[0].mlp.fc1.weight)
    assert report["sources"][0]["ignored"]["tower.projection.weight"] == (
        "the tower is read before its projection"
    )


# Parts of whole models


def test_one_of_two_towers_can_be_taken(made: Made, tmp_path: Path) -> None:
    whole, words = str(tools.mini_gemini(tmp_path / "mgm")), made("llama")[0]
    model, report = made_of([{"weights": {"from": whole, "part": "towers.1"}}], {"weights": words})
    by_kind, _ = made_of([{"kind": "convnext", "weights": whole}], {"weights": words})
    theirs = tools.stored(Path(whole))["model.vision_tower_aux.vision_stem.0.weight"]
    for one in (model, by_kind):
        assert one.tower.stem.patch_embeddings.weight.equal(theirs)
    told = report["sources"][0]
    assert told["parts"] == {"towers.0": "towers.1"}
    assert told["tensors"] == len(told["matched"]) + len(told["ignored"]) == len(tools.stored(Path(whole)))


def test_two_towers_of_one_source_share_no_memory(made: Made) -> None:
    place, words = made("clip", "llama")
    tower = {"weights": place}
    model, _ = made_of(
        [tower, tower], {"weights": words}, {"kind": "global_local"}, resolution={"kind": "both"}
    )
    one, two_ = (t.net.embeddings.class_embedding for t in model.towers)
    assert one.equal(two_)
    with torch.no_grad():
        one.add_(1)
    assert not one.equal(two_)


def test_a_second_stage_begins_with_the_connector_of_a_first(
    made: Made, labels: Path, tmp_path: Path
) -> None:
    eyes, words = made("clip", "llama")
    plain = {"start": "<s>", "user": "{media}", "end": "\n"}
    blueprint = {"towers": [{"weights": eyes}], "connector": {"kind": "pool_mlp"}, "prompt": plain}
    first = recipe(labels, name="first", blueprint={**blueprint, "language": {"weights": words}})
    run = train(first, tmp_path, silent, workers=0)
    begun = {"weights": str(run)}
    again = {"towers": [begun], "connector": begun, "language": {"weights": words}}
    second = recipe(labels, name="second", blueprint=again, seed=3)
    after = train(second, tmp_path, silent, workers=0)
    told = {source["name"]: source for source in tools.report(after)["sources"]}
    assert told[str(run)]["parts"] == {"towers.0": "towers.0", "connector": "connector"}
    assert tools.report(after)["begins_at_random"] == []
    assert "<|im_start|>assistant" in tools.blueprint(after)["prompt"]["opening"]
    ours, theirs = weights(after), weights(run)
    assert not ours["connector.mlp.0.weight"].equal(theirs["connector.mlp.0.weight"]), "it learned"
    model, _ = made_of([begun], {"weights": words}, begun)
    assert model.connector.mlp[0].weight.equal(theirs["connector.mlp.0.weight"])


def test_adapters_of_a_source_are_merged(made: Made, labels: Path, tmp_path: Path) -> None:
    eyes, words = made("clip", "llama")
    blueprint = {
        "towers": [{"weights": eyes}],
        "connector": {"kind": "pool_mlp"},
        "language": {"weights": words},
    }
    lora = {"towers": "frozen", "language": "lora", "lora": {"rank": 2, "alpha": 8}}
    tuned = Recipe.model_validate(
        {"name": "tuned", "blueprint": blueprint, "stages": [stage(labels, train=lora, steps=3)]}
    )
    run = train(tuned, tmp_path, silent, workers=0)
    model, report = made_of([{"weights": eyes}], {"weights": str(run)})
    assert model.blueprint.adapters is None
    told = report["sources"][1]
    assert (
        told["tensors"]
        == len(weights(run))
        == sum(map(len, (told["matched"], told["ignored"], told["merged"])))
    )
    assert len(told["merged"]) == 2 * 7 * 3, "two for each linear layer"
    whole, _ = open_model(run)
    ids = torch.tensor([[1, 5, 9, 33, 2]])
    with torch.no_grad():
        for one in (model, whole):
            one.language.set_attn_implementation("sdpa")
        merged, apart = model.language(ids).logits, whole.language(ids).logits
        plain = made_of([{"weights": eyes}], {"weights": words})[0].language
        plain.set_attn_implementation("sdpa")
        before = plain(ids).logits
    torch.testing.assert_close(merged, apart, atol=1e-5, rtol=1e-5)
    assert (merged - before).abs().max() > 1e-3


def test_adapters_can_be_begun_on_weights(made: Made) -> None:
    eyes, words = made("clip", "llama")
    lora = {"rank": 2, "alpha": 4, "targets": ["q_proj"]}
    model, _ = made_of([{"weights": eyes}], {"weights": words}, adapters=lora)
    names = {name.rpartition(".")[2] for name, _ in model.language.named_parameters() if "lora" in name}
    assert names == {"weight"}
    layer = model.language.model.layers[0].self_attn.q_proj
    theirs = tools.stored(Path(words))["model.layers.0.self_attn.q_proj.weight"]
    assert layer.base_layer.weight.equal(theirs.float())


# What is saved, counted, and gone on with


def test_all_is_written_out_and_every_tensor_counted(made: Made, labels: Path, tmp_path: Path) -> None:
    eyes, words = made("clip", "llama")
    blueprint = {
        "towers": [{"weights": eyes}],
        "connector": {"kind": "pool_mlp"},
        "language": {"weights": words},
    }
    run = train(recipe(labels, blueprint=blueprint), tmp_path, silent, workers=0)
    saved = json.dumps(tools.blueprint(run))
    assert '"weights"' not in saved
    assert tools.blueprint(run)["language"]["vocab_size"] == tools.ROWS
    told = tools.report(run)
    clip, llama = told["sources"]
    assert clip["tensors"] == len(clip["matched"]) + len(clip["ignored"]) == len(tools.stored(Path(eyes)))
    assert llama["tensors"] == len(llama["matched"]) == len(tools.stored(Path(words)))
    assert llama["files"] == sorted(path.name for path in Path(words).glob("*.safetensors"))
    assert len(llama["files"]) > 1
    assert {clip["dtype"], llama["dtype"]} == {"float32"}
    state = set(weights(run))
    assert {*clip["matched"], *llama["matched"], *told["begins_at_random"]} == state
    assert all(name.startswith("connector.") for name in told["begins_at_random"])


def test_the_same_seed_gives_the_same_model(made: Made) -> None:
    parts = [{"weights": made("clip")[0]}], {"weights": made("llama")[0]}
    one, same = (made_of(*parts)[0].state_dict() for _ in range(2))
    assert_equal(one, same)
    plan = planned(*parts)
    other = plan.make(plan.blueprint, seed=1)[0].state_dict()
    assert {name for name in one if not one[name].equal(other[name])} == {
        "connector.mlp.0.weight",
        "connector.mlp.0.bias",
        "connector.mlp.2.weight",
        "connector.mlp.2.bias",
    }


@torch.no_grad()
def test_a_language_model_in_one_gguf_file(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    import gguf_tools

    place, eyes = gguf_tools.write(tmp_path / "gguf", tools.CHATML), made("clip")[0]
    plan = planned([{"weights": eyes}], {"weights": str(place)})
    file = planned([{"weights": eyes}], {"weights": str(place / "tiny-f32.gguf")})
    assert file.blueprint == plan.blueprint
    model, report = plan.make(plan.blueprint, seed=0)
    model.language.set_attn_implementation("sdpa")
    ids = torch.tensor([[1, 5, 9, 33, 2]])
    expected = gguf_tools.model()(ids).logits
    torch.testing.assert_close(model.language(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert plan.tokenizer.convert_ids_to_tokens(1) == "<s>"
    assert len(plan.tokenizer) == gguf_tools.SIZES["vocab_size"]
    text = "What is it? The red ball\nhits 12 others, né"
    assert plan.tokenizer(text, add_special_tokens=False).input_ids == tokenizer()(text).input_ids
    assert "<|im_start|>assistant" in model.blueprint.prompt.opening
    told = report["sources"][1]
    assert told["files"] == ("tiny-f32.gguf",)
    assert told["tensors"] == len(told["matched"]) == 21
    assert not told["ignored"]


# Shipped models, and what the page says


def test_a_shipped_models_tower_can_be_taken(made: Made) -> None:
    connector = {"kind": "pool_mlp", "extra_per_clip": 4}
    model, report = made_of([{"weights": "billiards-home"}], {"weights": made("llama")[0]}, connector)
    assert model.blueprint.towers[0]["kind"] == "conv_vip"
    told = report["sources"][0]
    assert told["parts"] == {"towers.0": "towers.0"}
    assert told["tensors"] == len(told["matched"]) + len(told["ignored"])


def test_what_training_left_beside_a_model_makes_no_dual_encoder_of_it(made: Made, tmp_path: Path) -> None:
    saved = shutil.copytree(shipped()["billiards-home"], tmp_path / "saved")
    torch.save({"step": torch.tensor(1)}, saved / "optimizer.pt")
    connector = {"kind": "pool_mlp", "extra_per_clip": 4}
    model, _ = made_of([{"weights": str(saved)}], {"weights": made("llama")[0]}, connector)
    assert model.blueprint.towers[0]["kind"] == "conv_vip"
    assert not compares(saved)


def test_the_page_names_recipes_and_their_sources() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "compose.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.-]+\.yaml)`", page))
    composed = {path.name for path in (root / "recipes").glob("*.yaml") if "{weights: " in path.read_text()}
    assert named == composed - {"billiards-clip.yaml"}
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        assert compose.is_composed(Blueprint.model_validate(yaml.safe_load(block)["blueprint"]))
