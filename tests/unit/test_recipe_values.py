"""What may stand in a recipe: plain, finite, sensible values; options of commands are taken as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field, ValidationError
from typer.testing import CliRunner

from vidapt import demo, parts
from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.parts import PartConfig
from vidapt.recipe import LoRA, Optimizer, Recipe, load_recipe, missing_files
from vidapt.video.choose import Every, Times, Uniform
from vidapt.yaml_lines import Lines, describe

START = """\
name: run
start: billiards-home
data: labels.jsonl
stages:
  - name: a
    epochs: 2
"""

MODEL = """\
name: run
data: labels.jsonl
stages: [{name: a, epochs: 2}]
blueprint:
  towers: [{kind: frame_vit, arch: {model_type: clip_vision_model}}]
  connector: {kind: pool_mlp}
  language: {model_type: llama, hidden_size: 64}
"""

ODD = ["set #2", "a: b", "[1]", "~", "yes", "- a", "*x", "2024", "'half", "a=b", " two  spaces "]


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(write(folder, text), overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", ODD)
def test_what_is_given_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    given: dict[str, str | Path] = {"data": tmp_path / name, "start": name, "stages.0.data.0.path": name}
    text = START.replace("    epochs", "    data: [{path: x}]\n    epochs")
    recipe = load_recipe(write(tmp_path, text), given=given)
    assert recipe.data[0].path == tmp_path / name
    assert recipe.start == name
    assert recipe.stages[0].data[0].path == tmp_path / name


def test_the_name_of_a_run_may_look_like_a_number(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, START), given={"name": "2024"}).name == "2024"
    assert load_recipe(write(tmp_path, START), ["name=2024-01-01"]).name == "2024-01-01"


def test_overrides_come_after_what_is_given_and_are_yaml(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, START), ["seed=0x10", "data=[b]"], given={"data": "a", "seed": "3"})
    assert recipe.seed == 16
    assert recipe.data[0].path == tmp_path / "b"


def test_a_mistake_in_what_is_given_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"override 'name=a b': name: String should match"):
        load_recipe(write(tmp_path, START), given={"name": "a b"})
    with pytest.raises(ConfigError, match=r"override 'name.x=a': cannot be applied"):
        load_recipe(write(tmp_path, START), given={"name.x": "a"})


@pytest.mark.parametrize("name", ODD)
def test_the_command_takes_its_options_as_they_are(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(write(tmp_path, START))
    done = CliRunner().invoke(app, ["train", path, f"--data={name}", f"--runs={tmp_path / 'runs'}"])
    assert done.exit_code == 2
    assert f"files are missing:\n  {tmp_path / name}\n" in done.output


def test_a_start_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["train", str(write(tmp_path, START)), "--start", "a" * 5000])
    assert done.exit_code == 2
    assert "start: is no path" in done.output


def test_a_demonstration_may_lie_in_any_folder(tmp_path: Path) -> None:
    for name in ODD:
        recipe = demo._recipe(tmp_path / name, demo.QUICK)
        paths = {source.path for stage in recipe.stages for source in recipe.sources(stage)}
        assert paths == {tmp_path / name / "labels.jsonl"}
        assert [stage.epochs for stage in recipe.stages] == [1, 1]


REFUSED = {
    "!!python/object/apply:os.system ['true']": "!!python/object/apply:os.system is not read here",
    "!foo 3": "!foo is not read here",
    "!!timestamp abc": "!!timestamp is not read here",
    "!!binary aGVsbG8=": "!!binary is not read here",
    "!!set {a, b}": "!!set is not read here",
    "!!omap [1]": "!!omap is not read here",
    "<<": "!!merge is not read here",
    "!!int abc": "'abc' cannot be read",
    "!!int [1]": "expected a scalar node",
    "!!float abc": "'abc' cannot be read",
    "!!bool abc": "'abc' cannot be read",
    "!!map 3": "expected a mapping node",
    "0x_": "'0x_' cannot be read",
    "0b_": "'0b_' cannot be read",
    "9" * 6000: "cannot be read: Exceeds the limit",
    "0x" + "f" * 6000: "is too large a number",
    "99999999999999999999999999": "is too large a number",
    ".inf": ".inf is no finite number",
    "-.inf": "-.inf is no finite number",
    ".nan": ".nan is no finite number",
    "1.0e+400": "1.0e+400 is no finite number",
    '"\\ud800"': "cannot be read",
    "*nobody": "found undefined alias 'nobody'",
    "{<<: 3}": "expected a mapping or list of mappings for merging",
    "{<<: }": "expected a mapping or list of mappings for merging",
    "{<<: [1, 2]}": "expected a mapping for merging",
    "{!!int a: 3}": "'a' cannot be read",
    "[" * 1500 + "]" * 1500: "more than 50 lists and mappings lie in one another",
    "{a: " * 1500 + "3" + "}" * 1500: "more than 50 lists and mappings lie in one another",
    "[": "expected the node content",
    "\x07": "special characters are not allowed",
}


@pytest.mark.parametrize("value", REFUSED)
def test_what_yaml_can_write_and_no_recipe_means_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    found = refusal(tmp_path, f"{START}seed: {value}\n")
    assert "\n" not in found
    # The end of what is open can only be missed at the end of the file.
    assert found.startswith(f"{tmp_path / 'recipe.yaml'}:{8 if value == '[' else 7}: ")
    assert REFUSED[value] in found
    assert len(found) < 400


@pytest.mark.parametrize("value", REFUSED)
def test_the_same_is_refused_of_an_override(tmp_path: Path, value: str) -> None:
    found = refusal(tmp_path, START, f"seed={value}")
    assert found.startswith("override ")
    assert REFUSED[value] in found
    assert len(found) < 500


def test_blocks_and_aliases_are_no_way_around_the_depth(tmp_path: Path) -> None:
    found = refusal(tmp_path, "".join(" " * depth + "a:\n" for depth in range(1500)))
    assert ":50: more than 50" in found
    chain = "".join(f"a{i}: &a{i} {'[' * 40}*a{i - 1}{']' * 40}\n" for i in range(1, 60))
    assert ":2: more than 50" in refusal(tmp_path, f"a0: &a0 []\n{chain}")


def test_dates_are_text_and_powers_of_ten_are_numbers(tmp_path: Path) -> None:
    text = START.replace("name: run", "name: 2024-01-01")
    rates = "    optimizer: {rates: {language: 3e-4, connector: 1.0e-3, towers: '2e-5'}, eps: 1}\n"
    recipe = load_recipe(write(tmp_path, text + rates))
    assert recipe.name == "2024-01-01"
    optimizer = recipe.stages[0].optimizer
    assert (optimizer.rates.language, optimizer.rates.connector, optimizer.rates.towers) == (3e-4, 1e-3, 2e-5)
    assert optimizer.eps == 1.0
    model = MODEL.replace("hidden_size: 64", "hidden_size: 64, rms_norm_eps: 1e-6")
    assert load_recipe(write(tmp_path, model)).blueprint.language["rms_norm_eps"] == 1e-6  # type: ignore[union-attr]


IN_STAGE = {
    "epochs: true": "epochs: a number is needed",
    "epochs: 0": "epochs: Input should be greater than 0",
    "epochs: 1e7": "epochs: Input should be less than or equal to 1000000",
    "epochs: '1e400'": "epochs: Input should be a finite number",
    "steps: true": "steps: a number is needed",
    "save_every: false": "save_every: a number is needed",
    "optimizer: {betas: [2, 0.9]}": "betas.0: Input should be less than 1",
    "optimizer: {betas: [0.9, -1]}": "betas.1: Input should be greater than or equal to 0",
    "optimizer: {betas: [true, 0.9]}": "betas: a number is needed",
    "optimizer: {eps: 0}": "eps: Input should be greater than 0",
    "optimizer: {eps: 2}": "eps: Input should be less than or equal to 1",
    "optimizer: {weight_decay: 100}": "weight_decay: Input should be less than or equal to 10",
    "optimizer: {clip_norm: 'inf'}": "clip_norm: Input should be a finite number",
    "optimizer: {clip_norm: true}": "clip_norm: a number is needed",
    "optimizer: {rates: {language: 'inf'}}": "rates.language: Input should be a finite number",
    "optimizer: {rates: {towers: 3}}": "rates.towers: Input should be less than or equal to 1",
    "optimizer: {rates: {objective: true}}": "rates.objective: a number is needed",
    "batching: {share: {a: true}}": "share: a number is needed",
    "batching: {share: {a: 'nan'}}": "share.a: Input should be a finite number",
    "batching: {clips: 9000000}": "clips: Input should be less than or equal to 1000000",
    "cache: {max_gb: 'nan'}": "max_gb: Input should be a finite number",
    "train: {lora: {alpha: 0}}": "lora.alpha: Input should be greater than 0",
    "train: {lora: {alpha: 'nan'}}": "lora.alpha: Input should be a finite number",
    "train: {lora: {rank: 100000000}}": "lora.rank: Input should be less than or equal to 65536",
    "train: {lora: {targets: []}}": "at least 1 item",
    "pairs: {falsify: true}": "falsify: a number is needed",
    "objective: {kind: next_token, smoothing: 'nan'}": "smoothing: Input should be a finite number",
    "objective: {kind: next_token, smoothing: false}": "smoothing: a number is needed",
}


@pytest.mark.parametrize("line", IN_STAGE)
def test_numbers_of_a_stage_are_finite_sensible_and_no_truths(tmp_path: Path, line: str) -> None:
    text = START if not line.startswith(("epochs", "steps")) else START.replace("    epochs: 2\n", "")
    found = refusal(tmp_path, f"{text}    {line}\n")
    assert f"line {text.count(chr(10)) + 1}: stages.0." in found
    assert IN_STAGE[line] in found


IN_RECIPE = {
    "seed: true": "seed: a number is needed",
    "seed: 9223372036854775807": "",
    "vocabulary: 100000000000": "vocabulary: Input should be less than",
    'tokenizer: "a\\0b"': "tokenizer: is no path: it holds a NUL character",
    "tokenizer: " + "a" * 5000: "tokenizer: is no path: longer than",
}


@pytest.mark.parametrize("line", IN_RECIPE)
def test_values_of_a_recipe_are_sensible(tmp_path: Path, line: str) -> None:
    if not IN_RECIPE[line]:
        assert load_recipe(write(tmp_path, f"{START}{line}\n"))
        return
    found = refusal(tmp_path, f"{START}{line}\n")
    assert f"line 7: {IN_RECIPE[line]}" in found
    assert len(found) < 500


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("run", "a" * 101), "line 1: name: String should have at most 100"),
        (("name: a", "name: " + "a" * 101), "line 5: stages.0.name: String should have at most 100"),
        (("labels.jsonl", '"a\\0b"'), "line 3: data.0.path: is no path: it holds a NUL"),
        (("labels.jsonl", "a" * 256), "line 3: data.0.path: is no path: longer than"),
        (("billiards-home", '"a\\0b"'), "line 2: start: is no path: it holds a NUL"),
        (("billiards-home", "a" * 5000), "line 2: start: is no path: longer than"),
        (("billiards-home", '""'), "line 2: start: String should have at least 1"),
        (("labels.jsonl", "{path: a, limit: true}"), "line 3: data.0.limit: a number is needed"),
        (
            ("labels.jsonl", "{path: a, format: sharegp}"),
            "line 3: data.0.format: no part is called 'sharegp'",
        ),
        (("labels.jsonl", "[{path: a, options: {kind: x}}]"), "line 3: data.0.options: `kind` is no option"),
        (
            ("labels.jsonl", "[{path: a, format: sharegpt, options: {kind: folder}}]"),
            "line 3: data.0.options: `kind` is no option",
        ),
    ],
)
def test_names_and_paths_are_possible(tmp_path: Path, change: tuple[str, str], found: str) -> None:
    assert change[0] in START
    said = refusal(tmp_path, START.replace(change[0], change[1], 1))
    assert found in said
    assert said.count("\n") == 1
    assert len(said) < 500


def test_paths_that_cannot_be_asked_for_are_missing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    recipe = load_recipe(write(tmp_path, START.replace("labels.jsonl", "loop")))
    assert missing_files(recipe) == [tmp_path / "loop"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            ("llama, hidden_size: 64", "[3]"),
            "line 7: blueprint.language.model_type: no language model is called",
        ),
        (
            ("hidden_size: 64", "num_attention_heads: 0"),
            "line 7: blueprint.language: cannot be made: ZeroDiv",
        ),
        (
            ("clip_vision_model", "clip_vision_model, patch_size: 0"),
            "line 5: blueprint.towers.0: cannot be made",
        ),
        (
            ("clip_vision_model", "clip_vision_model, patch_size: -1"),
            "line 5: blueprint.towers.0: towers.arch: cannot be made",
        ),
        (
            ("clip_vision_model", "clip_vision_model, hidden_act: x"),
            "line 5: blueprint.towers.0: towers.arch: cannot be made",
        ),
        (
            ("clip_vision_model", "clip_vision_model, intermediate_size: 0"),
            "line 5: blueprint.towers.0: cannot be",
        ),
        (
            ("clip_vision_model", "clip_vision_model, num_hidden_layers: 0"),
            "frame_vit.layer: -2 in a tower of 0",
        ),
        (
            ("clip_vision_model", "clip_vision_model, pach_size: 4"),
            "line 5: blueprint.towers.0.arch.pach_size: unknown key; did you mean 'patch_size'?",
        ),
        (("kind: frame_vit", "kind: ':'"), "line 5: blueprint.towers.0.kind: cannot import ''"),
    ],
)
def test_sizes_of_no_model_are_told_with_their_line(
    tmp_path: Path, change: tuple[str, str], found: str
) -> None:
    assert change[0] in MODEL
    said = refusal(tmp_path, MODEL.replace(*change))
    assert found in said
    assert said.count("\n") == 1


def test_every_tower_can_be_tried_without_weights(tmp_path: Path) -> None:
    from vidapt.parts import find, kinds

    for kind in kinds("towers"):
        module = __import__(find("towers", kind).__module__, fromlist=["tiny"])
        tower = {"kind": kind, **module.tiny().cfg.model_dump(mode="json")}
        text = json.dumps({**yaml.safe_load(MODEL), "blueprint": {**blueprint_of(MODEL), "towers": [tower]}})
        assert load_recipe(write(tmp_path, text)).blueprint


def blueprint_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["blueprint"]
    return found


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), [True]])
@pytest.mark.parametrize("model", [Uniform, Every, Times, Optimizer, LoRA])
def test_descriptions_made_in_python_are_as_strict(model: Any, value: object) -> None:
    field = {Uniform: "count", Every: "rate", Times: "times", Optimizer: "eps", LoRA: "alpha"}[model]
    with pytest.raises(ValidationError):
        model.model_validate({field: value if model is not Times or isinstance(value, list) else [value]})


def test_a_parts_own_numbers_are_as_strict() -> None:
    class Config(PartConfig):
        size: int | None = None
        sizes: tuple[float, ...] = ()
        named: dict[str, float] = Field({})
        either: int | bool = 0
        anything: dict[str, Any] = Field({})

    assert Config.model_validate({"sizes": [1, 2.5], "size": None, "named": {"a": 1}})
    assert Config.model_validate({"either": True, "anything": {"a": [True]}})
    for wrong in ({"size": True}, {"sizes": [True]}, {"named": {"a": False}}, {"sizes": [float("nan")]}):
        with pytest.raises(ValidationError) as caught:
            Config.model_validate(wrong)
        (said,) = describe(caught.value, Config, Lines())
        assert "a number is needed" in said or "finite" in said


def test_every_familys_options_are_made_from_the_same_base() -> None:
    for family in parts.FAMILIES:
        for kind in parts.kinds(family):
            assert issubclass(parts.find(family, kind).Config, PartConfig)


def test_a_recipe_made_in_python_is_as_strict() -> None:
    given = {"name": "run", "start": "x", "data": "y", "stages": [{"name": "a", "steps": 1}]}
    assert Recipe.model_validate(given)
    for wrong in (
        {"seed": 2**63},
        {"seed": True},
        {"data": "a\0b"},
        {"start": "\udcff"},
        {"name": "a" * 101},
    ):
        with pytest.raises(ValidationError):
            Recipe.model_validate({**given, **wrong})


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        ("{policy: motin}", "there is no policy 'motin'; did you mean 'motion'?"),
        ("{policy:motion, count: 8}", "has no `policy`, which says of what kind it is"),
        ("{count: 8}", "has no `policy`, which says of what kind it is"),
    ],
)
def test_a_mapping_that_does_not_say_of_what_kind_it_is(frames: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{START}reads:\n  frames: {frames}\n")
    with pytest.raises(ConfigError, match=f"line 8: reads.frames: {re.escape(found)}"):
        load_recipe(path)
