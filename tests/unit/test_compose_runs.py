"""Runs that begin with others' weights: recipes as they ship, and runs that are cut and go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compose_tools as tools
import openai_tools
import pytest
import torch
from align_tools import write_captioned
from safetensors.torch import load_file, save_file
from training_tools import assert_equal, silent, stage, weights, write_clips
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.loading import compose_dual, open_model
from vidapt.loading.compose import Sources
from vidapt.recipe import DualParts, Recipe, load_recipe
from vidapt.training.run import train

RECIPES = Path(__file__).parents[2] / "recipes"
Made = Callable[..., list[str]]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), clips=3, questions=2)


# Recipes that ship, at tiny size


def shipped(name: str, labels: Path, *changes: str) -> Recipe:
    """A recipe with tiny sources, two clips a step, two steps a stage."""
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    small = [f"data={labels}", "seed=3"]
    for index in range(len(recipe.stages)):
        small += [
            f"stages.{index}.batching.clips=2",
            f"stages.{index}.epochs=null",
            f"stages.{index}.steps=2",
        ]
    return load_recipe(RECIPES / f"{name}.yaml", [*small, *changes])


def begun(**parts: str) -> list[str]:
    """Overrides that name sources."""
    return [f"blueprint.{place.replace('_', '.')}.weights={name}" for place, name in parts.items()]


def sources(run: Path) -> dict[str, dict[str, str]]:
    return {one["name"]: one["parts"] for one in tools.report(run)["sources"]}


def tokens(run: Path, frames: int, size: tuple[int, int] = (24, 32)) -> int:
    model, _ = open_model(run)
    _, layout = model.plan(size, frames)
    return sum(grid.cells + extra for grid, extra in (one for one in layout if not isinstance(one, str)))


def test_llava_begins_with_clip_and_a_language_model(made: Made, labels: Path, tmp_path: Path) -> None:
    eyes, words = made("clip", "llama")
    run = train(
        shipped("llava-stage1", labels, *begun(towers_0=eyes, language=words)), tmp_path, silent, workers=0
    )
    assert sources(run) == {eyes: {"towers.0": "tower"}, words: {"language": "language"}}
    saved = tools.blueprint(run)
    assert (saved["prompt"]["user"], saved["prompt"]["end"]) == ("{media}", "\n")
    assert tokens(run, 1) == (tools.SIDE // tools.PATCH) ** 2
    kept, theirs = weights(run), tools.stored(Path(words))
    assert kept["language.model.norm.weight"].equal(theirs["model.norm.weight"].float())
    random = set(tools.report(run)["begins_at_random"])
    assert random == {f"connector.mlp.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}


def test_hilight_begins_with_two_towers_and_gemma(made: Made, labels: Path, tmp_path: Path) -> None:
    main, aux, words = made("clip_vip.pt", "long_clip.pt", "gemma")
    plan = shipped(
        "hilight-compose",
        labels,
        *begun(towers_0=main, towers_1=aux, language=words),
        "blueprint.frames.count=3",
    )
    run = train(plan, tmp_path, silent, workers=0)
    saved = tools.blueprint(run)
    assert [tower["kind"] for tower in saved["towers"]] == ["clip_vip", "long_clip"]
    assert saved["adapters"]["rank"] == 64
    assert tokens(run, 3) == 3 * 32
    told = {one["name"]: one for one in tools.report(run)["sources"]}
    state = torch.load(main, weights_only=True)
    assert told[main]["tensors"] == len(state)
    assert told[main]["tensors"] == len(told[main]["matched"]) + len(told[main]["ignored"])
    kept = weights(run)
    assert kept["towers.0.temporal"].equal(state["clipmodel.vision_model.embeddings.temporal_embedding"])
    aside = torch.load(aux, weights_only=True)
    assert kept["towers.1.projection.weight"].equal(aside["visual.proj"].T)
    mined = {name for name in kept if name.startswith("connector.")}
    assert set(tools.report(run)["begins_at_random"]) == mined


def test_pllava_is_llava_next_read_otherwise(made: Made, labels: Path, tmp_path: Path) -> None:
    (whole,) = made("llava_next")
    plan = shipped(
        "pllava-7b",
        labels,
        *begun(towers_0=whole, connector=whole, language=whole),
        "blueprint.frames.count=4",
        "blueprint.connector.shape=[2, 2, 2]",
    )
    run = train(plan, tmp_path, silent, workers=0)
    saved = tools.blueprint(run)
    assert saved["connector"]["pool"] == "adaptive3d"
    assert saved["adapters"] == {"rank": 128, "alpha": 32, "dropout": 0.05, "targets": ["q_proj", "v_proj"]}
    assert tokens(run, 4) == 8
    (told,) = tools.report(run)["sources"]
    assert told["parts"] == {"towers.0": "towers.0", "connector": "connector", "language": "language"}
    assert list(told["ignored"]) == ["resolution.newline"]
    assert tools.report(run)["begins_at_random"] == []
    model, _ = open_model(whole)
    kept = weights(run)
    assert kept["language.model.layers.0.self_attn.q_proj.base_layer.weight"].equal(
        model.language.model.layers[0].self_attn.q_proj.weight
    )
    moved = kept["connector.mlp.0.weight"] - model.connector.mlp[0].weight
    assert 0 < moved.abs().max() < 1e-3


@pytest.mark.parametrize("fine", ["open_clip", "convnext"])
def test_mini_gemini_begins_with_clip_and_convnext(
    made: Made, labels: Path, tmp_path: Path, fine: str
) -> None:
    eyes, finer, words = made("clip", fine, "llama")
    plan = shipped(
        "mini-gemini-compose",
        labels,
        *begun(towers_0=eyes, towers_1=finer, language=words),
        "blueprint.resolution.fine=64",
        "blueprint.frames.count=2",
    )
    run = train(plan, tmp_path, silent, workers=0)
    saved = tools.blueprint(run)
    assert [tower["kind"] for tower in saved["towers"]] == ["frame_vit", "convnext"]
    assert tokens(run, 2) == 2 * (tools.SIDE // tools.PATCH) ** 2
    assert set(sources(run)) == {eyes, finer, words}
    assert all(name.startswith("connector.") for name in tools.report(run)["begins_at_random"])


def test_ferret_begins_with_clip_and_dinov2(made: Made, labels: Path, tmp_path: Path) -> None:
    eyes, near, words = made("clip", "dinov2", "llama")
    plan = shipped("ferret-v2-compose", labels, *begun(towers_0=eyes, towers_1=near, language=words))
    run = train(plan, tmp_path, silent, workers=0)
    assert [tower["kind"] for tower in tools.blueprint(run)["towers"]] == ["frame_vit", "dinov2"]
    assert tokens(run, 2) == 2 * 2 * (tools.SIDE // tools.PATCH) ** 2
    assert set(sources(run)) == {eyes, near, words}


def words_of_clip(folder: Path, entries: int) -> Path:
    from vidapt.training.tokenizer import learn_caption_tokenizer

    learn_caption_tokenizer(["red 0", "blue 1"], entries).save_pretrained(folder)
    return folder


def test_a_dual_encoder_begins_with_two(made: Made, tmp_path: Path) -> None:
    sees, reads = made("clip_vip.pt", "long_clip.pt")
    plan = shipped(
        "align_clipvip_longclip",
        write_captioned(tmp_path / "clips"),
        f"dual.tower.weights={sees}",
        f"dual.text.weights={reads}",
        f"tokenizer={words_of_clip(tmp_path / 'words', 300)}",
    )
    run = train(plan, tmp_path / "runs", silent, workers=0)
    saved = json.loads(next(run.glob("*/model/dual.json")).read_text())
    assert (saved["tower"]["kind"], saved["width"], saved["text"]["kept"]) == ("clip_vip", 24, 20)
    assert "weights" not in json.dumps(saved)
    assert tools.report(run)["begins_at_random"] == ["logit_scale"]
    first, second = tools.report(run)["sources"]
    assert {"tower.temporal", "visual_projection.weight"} < set(first["matched"])
    assert {"text_projection.weight"} < set(second["matched"])
    for one in (first, second):
        assert one["tensors"] == len(one["matched"]) + len(one["ignored"])


def test_a_text_tower_is_stretched_where_the_recipe_accepts_it(made: Made, tmp_path: Path) -> None:
    short = openai_tools.state(77)
    short["token_embedding.weight"] = torch.randn(300, openai_tools.TEXT)
    torch.save(short, tmp_path / "clip.pt")
    (sees,) = made("clip_vip.pt")
    dual = {"tower": {"weights": sees}, "text": {"weights": str(tmp_path / "clip.pt")}}
    at = ".".join
    for accept, kept, rows in ((), None, 77), (("short_clip",), 20, 248):
        plan = compose_dual.plan(DualParts.model_validate(dual), Sources(accept, 0), at)  # type: ignore[arg-type]
        model, _ = plan.make(plan.blueprint, seed=0)
        assert (model.blueprint.text.kept, model.text.positions) == (kept, rows)


# Runs that are cut


def plan_of(made: Made, labels: Path, **changes: Any) -> Recipe:
    eyes, words = made("clip", "llama")
    blueprint = {
        "towers": [{"weights": eyes}],
        "connector": {"kind": "pool_mlp"},
        "language": {"weights": words},
    }
    lora = {"towers": "frozen", "language": "lora", "lora": {"rank": 2, "dropout": 0.5}}
    stages = [stage(labels, name, train=lora, steps=4, save_every=1) for name in ("a", "b")]
    return Recipe.model_validate({"name": "run", "blueprint": blueprint, "stages": stages, **changes})


class CutError(RuntimeError):
    pass


def cut_at(stage_name: str, step: int) -> Callable[..., None]:
    def report(name: str, done: int, total: int, note: str = "") -> None:
        if (name, done) == (stage_name, step):
            raise CutError

    return report


def again(run: Path) -> Recipe:
    return load_recipe(run / "recipe.json")


@pytest.mark.parametrize("by", ["the recipe", "its recipe.json"])
def test_a_cut_run_ends_where_it_would_have_ended(made: Made, labels: Path, tmp_path: Path, by: str) -> None:
    plan = plan_of(made, labels)
    expected = weights(train(plan, tmp_path / "whole", silent, workers=0))
    with pytest.raises(CutError):
        train(plan, tmp_path / "cut", cut_at("a", 2), workers=0)
    same = plan if by == "the recipe" else again(tmp_path / "cut" / "run")
    run = train(same, tmp_path / "cut", silent, workers=0, resume=True)
    assert_equal(weights(run), expected)
    assert "<|im_start|>" in tools.blueprint(run)["prompt"]["opening"]


def test_sources_are_not_needed_once_a_stage_is_finished(made: Made, labels: Path, tmp_path: Path) -> None:
    eyes, words = (shutil.copytree(one, tmp_path / Path(one).name) for one in made("clip", "llama"))
    blueprint = {
        "towers": [{"weights": str(eyes)}],
        "connector": {"kind": "pool_mlp"},
        "language": {"weights": str(words)},
    }
    plan = plan_of(made, labels, blueprint=blueprint)
    expected = weights(train(plan, tmp_path / "whole", silent, workers=0))
    with pytest.raises(CutError):
        train(plan, tmp_path / "cut", cut_at("b", 1), workers=0)
    shutil.rmtree(eyes)
    shutil.rmtree(words)
    assert_equal(weights(train(plan, tmp_path / "cut", silent, workers=0, resume=True)), expected)


def test_weights_that_changed_since_are_refused(made: Made, labels: Path, tmp_path: Path) -> None:
    eyes = shutil.copytree(made("clip")[0], tmp_path / "clip")
    blueprint = {
        "towers": [{"weights": str(eyes)}],
        "connector": {"kind": "pool_mlp"},
        "language": {"weights": made("llama")[0]},
    }
    plan = plan_of(made, labels, blueprint=blueprint)
    with pytest.raises(CutError):
        train(plan, tmp_path / "runs", cut_at("a", 2), workers=0)
    state = load_file(eyes / "model.safetensors")
    state["vision_model.pre_layrnorm.bias"][0] += 1
    save_file(state, eyes / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=f"has changed since it began: weights of {eyes}"):
        train(plan, tmp_path / "runs", silent, workers=0, resume=True)


# A recipe as a user writes it


RECIPE = """\
name: run
blueprint:
  towers:
    - {weights: clip}
  connector: {kind: pool_mlp}
  language:
    weights: llama
    hidden_size: 99
stages:
  - {name: a, data: labels.jsonl, steps: 1}
"""


def written(folder: Path, labels: Path, made: Made, text: str = RECIPE) -> Path:
    for name, source in zip(("clip", "llama"), made("clip", "llama"), strict=True):
        (folder / name).symlink_to(source)
    (folder / "labels.jsonl").symlink_to(labels)
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def command(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_paths_are_the_recipes_and_mistakes_have_their_lines(
    made: Made, labels: Path, tmp_path: Path
) -> None:
    path = written(tmp_path, labels, made)
    done = command("train", path, "--runs", tmp_path / "runs")
    assert done.exit_code == 2
    wanted = "line 8: blueprint.language.hidden_size: is 99, its weights have 24; leave it out"
    assert wanted in " ".join(done.output.split())
    assert not (tmp_path / "runs").exists()
    path.write_text(RECIPE.replace("    hidden_size: 99\n", ""))
    done = command("train", path, "--runs", tmp_path / "runs", "--workers", 0)
    assert done.exit_code == 0, done.output
    assert load_recipe(path).fingerprint == load_recipe(path, [f"seed={0}"]).fingerprint
    card = json.loads((tmp_path / "runs" / "run" / "01-a" / "model" / "card.json").read_text())
    assert card["recipe_hash"] == load_recipe(path).fingerprint


def test_the_hash_is_of_what_was_written(made: Made, labels: Path, tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    one, two = (load_recipe(written(place, labels, made)) for place in places)
    assert one.fingerprint == two.fingerprint
    assert one.blueprint is not None
    assert Path(one.blueprint.towers[0]["weights"]).is_absolute()
