"""Sources that cannot be taken from: which field, which value, and how to mend it, before work begins."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compose_tools as tools
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_tools import recipe, silent, stage, write_clips

from vidapt.errors import CheckpointError, ConfigError, VidaptError
from vidapt.hub import read_tokenizer
from vidapt.loading import compose, compose_dual
from vidapt.loading.compose import Sources
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint, DualParts, load_recipe
from vidapt.training.run import train

Made = Callable[..., list[str]]


def plan(towers: Any, language: Any, connector: Any = None, **changes: Any) -> compose.Plan:
    given = {"towers": towers, "connector": connector or {"kind": "pool_mlp"}, "language": language}
    blueprint = Blueprint.model_validate(given | changes)
    return compose.plan(blueprint, Sources((), 0), lambda where: ".".join(map(str, where)))


def refused(*parts: Any, **changes: Any) -> str:
    with pytest.raises(ConfigError) as error:
        plan(*parts, **changes)
    return str(error.value)


def copied(source: str, folder: Path) -> Path:
    return Path(shutil.copytree(source, folder / Path(source).name))


def edit(file: Path, **changes: Any) -> None:
    data = json.loads(file.read_text())
    file.write_text(json.dumps({**data, **changes}))


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


# What the recipe and the source say does not agree

CONTRADICTIONS = {
    "arch.hidden_size: is 32, its weights have 16": {"arch": {"hidden_size": 32}},
    "arch.model_type: is 'siglip_vision_model', its weights have 'clip_vision_model'": {
        "arch": {"model_type": "siglip_vision_model"}
    },
    "arch.hiden_size: clip_vision_model has no such field; did you mean 'hidden_size'?": {
        "arch": {"hiden_size": 16}
    },
    "kind: is 'dinov2', its weights are those of 'frame_vit'; it can be frame_vit, clip_vip": {
        "kind": "dinov2"
    },
    "kind: is 'siglip_navit', its weights are those of 'frame_vit'": {"kind": "siglip_navit"},
    "norm: frame_vit has no such field": {"norm": True},
    "frames_at_once: Input should be greater than or equal to 1": {"frames_at_once": 0},
}


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_a_tower_is_what_its_weights_are(made: Made, said: str) -> None:
    eyes, words = made("clip", "llama")
    found = refused([{"weights": eyes, **CONTRADICTIONS[said]}], {"weights": words})
    assert f"blueprint.towers.0.{said}" in found


def test_what_agrees_may_be_said(made: Made) -> None:
    eyes, words = made("clip", "llama")
    tower = {"kind": "frame_vit", "weights": eyes, "arch": {"hidden_size": 16, "patch_size": 4}}
    made_of = plan([tower], {"weights": words, "model_type": "llama", "hidden_size": 24})
    assert made_of.blueprint.towers[0]["arch"]["num_hidden_layers"] == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"vocab_size": 500}, "vocab_size: is 500, its weights have 320; leave it out"),
        ({"model_type": "mistral"}, "model_type: is 'mistral', its weights have 'llama'"),
        ({"hiden_size": 24}, "hiden_size: llama has no such field; did you mean 'hidden_size'?"),
    ],
)
def test_a_language_model_is_what_its_weights_are(made: Made, given: Any, said: str) -> None:
    eyes, words = made("clip", "llama")
    assert f"blueprint.language.{said}" in refused([{"weights": eyes}], {"weights": words, **given})


def test_a_connector_fits_its_weights(made: Made) -> None:
    eyes, words, whole = made("clip", "llama", "llava_next")
    language, connector = {"weights": words}, {"weights": whole}
    found = refused([{"weights": eyes}], language, connector)
    assert (
        f"blueprint.connector.weights: the connector of {whole} joins features of 16 numbers and words of "
        "32, here they have 16 and 24; leave `weights` out, so that it begins at random"
    ) in found
    found = refused([{"weights": whole}], {"weights": whole}, {"kind": "resampler", "weights": whole})
    assert "blueprint.connector.kind: is 'resampler', its weights are those of 'pool_mlp'" in found
    found = refused([{"weights": whole}], {"weights": whole}, {**connector, "depth": 3})
    assert "blueprint.connector.depth: is 3, its weights have 2; leave it out" in found
    found = refused([{"weights": whole}], {"weights": whole}, {**connector, "pool": "adaptive3d"})
    assert "blueprint.connector.pool_mlp: Value error, `shape` goes with `pool: adaptive3d`" in found
    found = refused([{"weights": eyes}], language, {"weights": eyes})
    assert f"blueprint.connector.weights: {eyes} is a dual encoder and has no connector" in found


def test_two_towers_need_a_connector_that_reads_two(made: Made) -> None:
    eyes, words = made("clip", "llama")
    for kind in ("pool_mlp", "merge_mlp", "resampler", "track"):
        found = refused([{"weights": eyes}] * 2, {"weights": words}, {"kind": kind})
        assert f"blueprint.connector: {kind} reads one tower, got 2 with widths (16, 16)" in found
    found = refused([{"weights": eyes}], {"weights": words}, {"kind": "patch_mining"})
    assert "blueprint.connector: patch_mining reads two towers" in found


# Sources that are not what is needed


def test_a_source_that_is_not_there(made: Made, tmp_path: Path) -> None:
    found = refused([{"weights": "nowhere"}], {"weights": made("llama")[0]})
    assert "blueprint.towers.0.weights: nowhere: there is no such model; give a folder" in found
    (tmp_path / "empty").mkdir()
    found = refused([{"weights": str(tmp_path / "empty")}], {"weights": made("llama")[0]})
    assert "holds no model and no part of one" in found


def test_words_are_no_eyes_and_eyes_no_words(made: Made) -> None:
    eyes, words, dino = made("clip", "llama", "dinov2")
    found = refused([{"weights": words}], {"weights": eyes})
    assert f"blueprint.towers.0.weights: {words} is a language model and has no tower" in found
    assert f"blueprint.language.weights: {eyes} is a dual encoder and has no language model" in found
    found = refused([{"weights": eyes}], {"weights": dino})
    assert f"{dino} is a vision tower and has no language model" in found


def test_all_mistakes_are_told_at_once(made: Made) -> None:
    (words,) = made("llama")
    found = refused(
        [{"weights": "one"}, {"weights": words}], {"weights": "two"}, {"kind": "pool_mlp", "weights": "three"}
    )
    assert "recipe: 4 mistake(s)" in found
    assert all(f": {name}: there is no such model" in found for name in ("one", "two", "three"))


def test_a_folder_of_another_sort(made: Made, tmp_path: Path) -> None:
    other = copied(made("llama")[0], tmp_path)
    edit(other / "config.json", model_type="bert", architectures=["BertModel"])
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text(json.dumps({"model_type": "t5"}))
    found = refused([{"weights": str(tmp_path / "t5")}], {"weights": made("llama")[0]})
    assert "model_type is 't5', which is no part that can be taken" in found


def test_code_of_a_checkpoints_own_is_not_run(made: Made, tmp_path: Path) -> None:
    other = copied(made("llama")[0], tmp_path)
    edit(other / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    (other / "mine.py").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})")
    found = refused([{"weights": made("clip")[0]}], {"weights": str(other)})
    assert "its configuration cannot be read" in found
    assert not (tmp_path / "ran").exists()


def test_which_of_two_towers_is_meant_has_to_be_said(made: Made, tmp_path: Path) -> None:
    whole, words = str(tools.mini_gemini(tmp_path / "mgm")), {"weights": made("llama")[0]}
    found = refused([{"weights": whole}], words)
    assert "has towers.0 (frame_vit), towers.1 (convnext), and it is not said which is meant" in found
    assert f"write {{from: {whole}, part: towers.0}}" in found
    found = refused([{"weights": {"from": whole, "part": "towers.2"}}], words)
    assert f"blueprint.towers.0.weights.part: {whole} has no towers.2; it has towers.0, towers.1" in found
    found = refused(
        [{"weights": {"from": whole, "part": "towers.0"}}],
        {**words, "weights": {"from": whole, "part": "connector"}},
    )
    assert "blueprint.language.weights.part: is connector, and a language is needed; leave it out" in found


# Language models and their tokenizers


def test_a_language_model_needs_a_tokenizer(made: Made, tmp_path: Path) -> None:
    mute = tools.llama(tmp_path / "mute", speaks=False)
    found = refused([{"weights": made("clip")[0]}], {"weights": str(mute)})
    assert f"blueprint.language.weights: {mute} is a language model without a tokenizer" in found
    assert "or give the recipe a `tokenizer`" in found
    words = str(tools.words(tmp_path / "words"))
    with_one = compose.plan(
        Blueprint.model_validate(
            {
                "towers": [{"weights": made("clip")[0]}],
                "connector": {"kind": "pool_mlp"},
                "language": {"weights": str(mute)},
            }
        ),
        Sources((), 0),
        str,
        read_tokenizer(Path(words)),
    )
    assert with_one.tokenizer.eos_token == "</s>"


def test_a_tokenizer_of_too_many_entries(made: Made, tmp_path: Path) -> None:
    small = tools.llama(tmp_path / "small", vocab_size=200)
    found = refused([{"weights": made("clip")[0]}], {"weights": str(small)})
    assert f"blueprint.language.weights: {small} knows 200 tokens, its tokenizer has 300" in found


def test_a_language_model_that_nobody_knows_how_to_speak_to_needs_a_prompt(
    made: Made, tmp_path: Path
) -> None:
    tower, plain = {"weights": made("clip")[0]}, {"weights": str(tools.gpt2(tmp_path / "plain"))}
    found = refused([tower], plain)
    assert "blueprint.prompt: is not given: no prompt template is known for a language model of type" in found
    given = plan([tower], plain, prompt={"opening": "A:"})
    assert (given.blueprint.prompt.opening, given.prompt) == ("A:", "the recipe")


def test_where_a_prompt_comes_from_is_told(made: Made, tmp_path: Path) -> None:
    tower, known = {"weights": made("clip")[0]}, {"weights": str(tools.llama(tmp_path / "a", template=None))}
    assert plan([tower], known).prompt == "the way of writing known for such language models (vicuna)"
    template = plan([tower], {"weights": made("llama")[0]})
    assert template.prompt == "the chat template in chat_template.jinja"


# Damaged and hostile files


def hostile(file: Path) -> Path:
    torch.save({"x": Hostile(file.parent / "ran")}, file)
    return file


def test_a_pickle_that_would_run_code(made: Made, tmp_path: Path) -> None:
    words = {"weights": made("llama")[0]}
    found = refused([{"weights": str(hostile(tmp_path / "tower.pt"))}], words)
    assert "blueprint.towers.0.weights" in found
    assert "is not opened" in found
    clip = copied(made("clip_pickled")[0], tmp_path)
    hostile(clip / "pytorch_model.bin")
    assert "is not opened" in refused([{"weights": str(clip)}], words)
    assert not (tmp_path / "ran").exists()
    assert not (clip / "ran").exists()


@pytest.mark.parametrize("sharded", [False, True])
def test_pickled_words_that_would_run_code(made: Made, tmp_path: Path, sharded: bool) -> None:
    words = copied(made("llama")[0], tmp_path)
    for file in [*words.glob("*.safetensors"), words / "model.safetensors.index.json"]:
        file.unlink()
    name = "pytorch_model-00001-of-00001.bin" if sharded else "pytorch_model.bin"
    hostile(words / name)
    if sharded:
        index = {"metadata": {}, "weight_map": {"x": name}}
        (words / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert "is not opened" in refused([{"weights": made("clip")[0]}], {"weights": str(words)})
    assert not (words / "ran").exists()


def tampered(source: str, folder: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    place = copied(source, folder)
    (file,) = place.glob("*.safetensors")
    state = load_file(file)
    change(state)
    save_file(state, file, {"format": "pt"})
    return str(place)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: s.pop("encoder.layer.1.norm1.bias"),
            r"1 tensor\(s\) are missing:\n +encoder.layer.1.norm1.bias",
        ),
        (lambda s: s.update(odd=torch.ones(2)), r"1 tensor\(s\) have no place in the model:\n +odd"),
        (
            lambda s: s.update({"embeddings.cls_token": torch.ones(1, 1, 9)}),
            r"embeddings.cls_token: expected \[1, 1, 16\], found \[1, 1, 9\]",
        ),
    ],
)
def test_every_tensor_of_a_tower_is_accounted_for(made: Made, tmp_path: Path, change: Any, said: str) -> None:
    place = tampered(made("dinov2")[0], tmp_path, change)
    planned = plan([{"weights": place}], {"weights": made("llama")[0]})
    with pytest.raises(CheckpointError, match=said):
        planned.make(planned.blueprint, seed=0)


def test_a_configuration_of_other_sizes_than_the_weights(made: Made, tmp_path: Path) -> None:
    words = copied(made("llama")[0], tmp_path)
    edit(words / "config.json", intermediate_size=48)
    planned = plan([{"weights": made("clip")[0]}], {"weights": str(words)})
    with pytest.raises(CheckpointError, match=r"mlp.down_proj.weight: expected \[24, 48\], found \[24, 32\]"):
        planned.make(planned.blueprint, seed=0)


def test_weights_that_cannot_be_adapted(made: Made, tmp_path: Path) -> None:
    words = copied(made("llama")[0], tmp_path)
    (words / "adapter_config.json").write_text("{}")
    planned = plan([{"weights": made("clip")[0]}], {"weights": str(words)})
    with pytest.raises(CheckpointError, match="holds low-rank adapters beside its weights"):
        planned.make(planned.blueprint, seed=0)
    (words / "adapter_config.json").unlink()
    edit(words / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    planned = plan([{"weights": made("clip")[0]}], {"weights": str(words)})
    with pytest.raises(CheckpointError, match="its weights are quantised"):
        planned.make(planned.blueprint, seed=0)


# Before work begins


def test_nothing_is_begun_where_a_source_is_bad(made: Made, tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=1, questions=1)
    blueprint = {
        "towers": [{"weights": "nowhere"}],
        "connector": {"kind": "pool_mlp"},
        "language": {"weights": made("llama")[0]},
    }
    with pytest.raises(ConfigError, match=r"towers\.0\.weights: nowhere: there is no such model"):
        train(recipe(stage(labels), blueprint=blueprint), tmp_path / "runs", silent, workers=0)
    assert not (tmp_path / "runs").exists()


LINES = """\
name: run
blueprint:
  towers:
    - {weights: a, layr: 1}
    - {kind: frame_vit, weights: {from: b, prt: towers.0}, layer: x}
  connector:
    kind: pool_mlp
    weights: {from: c, part: head}
    pol: none
  language: {weights: [], model_type: llama, hiden: 3}
  resolution: {kind: whole, weights: d}
dual:
  tower: {weights: ""}
  text: {weights: {part: text}}
stages:
  - {name: a, data: labels.jsonl, steps: 1}
"""


def test_mistakes_of_spelling_are_told_before_a_source_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(LINES)
    with pytest.raises(VidaptError) as error:
        load_recipe(tmp_path / "recipe.yaml")
    for line in (
        "line 4: blueprint.towers.0.layr: unknown key; did you mean 'layer'?",
        "line 5: blueprint.towers.1.weights.prt: unknown key; did you mean 'part'?",
        "line 5: blueprint.towers.1.layer: Input should be a valid integer",
        "line 8: blueprint.connector.weights.part: String should match pattern",
        "line 9: blueprint.connector.pol: unknown key; did you mean 'pool'?",
        "line 10: blueprint.language.weights: Input should be a valid dictionary",
        "line 10: blueprint.language.hiden: unknown key",
        "line 11: blueprint.resolution.weights: unknown key",
        "line 13: dual.tower.weights.from: String should have at least 1 character",
        "line 14: dual.text.weights.from: is required",
    ):
        assert line in str(error.value)
    assert "arch" not in str(error.value)


def test_a_model_is_not_made_of_a_blueprint_that_is_not_written_out(made: Made) -> None:
    eyes = {"kind": "frame_vit", "arch": {"model_type": "clip_vision_model"}}
    words = {"model_type": "llama", "weights": made("llama")[0]}
    given = {"towers": [eyes], "connector": {"kind": "pool_mlp"}, "language": words}
    with pytest.raises(ConfigError, match="a model's own blueprint has every part written out"):
        VideoLM(Blueprint.model_validate(given))


# Dual encoders


def dual_refused(**parts: Any) -> str:
    with pytest.raises(ConfigError) as error:
        compose_dual.plan(
            DualParts.model_validate(parts), Sources((), 0), lambda where: ".".join(map(str, where))
        )
    return str(error.value)


def test_what_a_dual_encoder_cannot_begin_with(made: Made) -> None:
    sees, reads, eyes, words = made("clip_vip.pt", "long_clip.pt", "clip", "llama")
    tower, text = {"weights": sees}, {"weights": reads}
    assert f"dual.text.weights: {words} is a language model and has no text tower" in dual_refused(
        tower=tower, text={"weights": words}
    )
    assert "dual.text.arch.hidden_size: is 9, its weights have 64" in dual_refused(
        tower=tower, text={**text, "arch": {"hidden_size": 9}}
    )
    assert "dual.text.kept: is 3, its weights have 20" in dual_refused(tower=tower, text={**text, "kept": 3})
    found = dual_refused(tower={"weights": eyes}, text=text)
    assert f"dual.width: is not given: 8 of {eyes}, 24 of {reads}" in found
    found = dual_refused(tower={"weights": reads}, text=text, width=12)
    assert "dual.width: is 12, the tower projects to 24; leave it out" in found
    with pytest.raises(ValueError, match="give its `width`"):
        DualParts.model_validate({"tower": {"kind": "conv_vip"}, "text": {"arch": {"a": 1}}})
