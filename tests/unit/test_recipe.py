"""A recipe's mistakes are all said at once, each with its line and what was probably meant."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from training_tools import blueprint

from vidapt.errors import ConfigError
from vidapt.recipe import Recipe, Trained, load_recipe, missing_files

RECIPES = Path(__file__).parents[2] / "recipes"

GOOD = """\
name: run
blueprint:
  towers: [{kind: frame_vit, arch: {model_type: clip_vision_model}}]
  connector: {kind: pool_mlp, order: mlp_first}
  language: {model_type: llama, hidden_size: 64}
stages:
  - name: a
    data:
      - {path: labels.jsonl}
    epochs: 2
"""

WRONG = """\
name: run
bluprint: 3
vocabulary: 1
seed: -1
blueprint:
  towers: [{kind: frame_vitt}]
  connector:
    kind: pool_mlp
    pol: average
  frames: {policy: uniform, cuont: 3}
  resolution: {kind: whole, fit: squeeze}
  positions: {factor: 2}
  language: {model_type: llama, hiden_size: 64}
  adapters: {rnak: 3}
data:
  - {path: a, format: sharegp}
stages:
  - name: a
    data:
      - path: a
        limt: 3
      - {path: b, format: vidapt_jsonl, options: {media_rot: x}}
    optimizer:
      rates: {conector: 1.0}
    batching: {share: {count: 2}}
    train: {towers: thawed}
    objective: {kind: next_tokn}
    epochs: 1
  - name: b
    objective: {kind: next_token, smoting: 0.1}
    epochs: 1
"""

EXPECTED = """\
line 2: bluprint: unknown key; did you mean 'blueprint'?
line 3: vocabulary: Input should be greater than or equal to 257 (found 1)
line 4: seed: Input should be greater than or equal to 0 (found -1)
line 6: blueprint.towers.0.kind: no part is called 'frame_vitt'; did you mean 'frame_vit'?
line 9: blueprint.connector.pol: unknown key; did you mean 'pool'?
line 10: blueprint.frames.uniform.cuont: unknown key; did you mean 'count'?
line 11: blueprint.resolution.fit: Input should be 'squash' or 'crop' (found 'squeeze')
line 12: blueprint.positions.kind: a part needs a `kind`
line 13: blueprint.language.hiden_size: unknown key; did you mean 'hidden_size'?
line 14: blueprint.adapters.rnak: unknown key; did you mean 'rank'?
line 16: data.0.format: no part is called 'sharegp'; did you mean 'sharegpt'?
line 21: stages.0.data.0.limt: unknown key; did you mean 'limit'?
line 22: stages.0.data.1.options.media_rot: unknown key; did you mean 'media_root'?
line 24: stages.0.optimizer.rates.conector: unknown key; did you mean 'connector'?
line 25: stages.0.batching.share.count: Input should be less than or equal to 1 (found 2)
line 26: stages.0.train.towers: should be 'frozen', 'full', 'norms', 'lora' or {last: N} (found 'thawed')
line 27: stages.0.objective.kind: no part is called 'next_tokn'; did you mean 'next_token'?
line 30: stages.1.objective.smoting: unknown key; did you mean 'smoothing'?
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides)
    head, *lines = str(caught.value).splitlines()
    assert re.fullmatch(rf"{re.escape(str(path))}: {len(lines)} mistake\(s\)", head)
    return [line.strip() for line in lines]


def test_every_mistake_is_said_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    found = mistakes(write(tmp_path, WRONG))
    expected = EXPECTED.splitlines()
    short = [line.partition("; known:")[0] for line in found]
    assert short == expected


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.stages
    assert all(source.path.is_absolute() for stage in recipe.stages for source in recipe.sources(stage))


def test_there_are_shipped_recipes() -> None:
    assert len(list(RECIPES.glob("*.yaml"))) >= 2


def test_paths_are_taken_from_the_recipes_own_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    recipe = load_recipe(write(tmp_path / "sub", GOOD + "tokenizer: ../words\ndata: [{path: ../more}]\n"))
    assert recipe.stages[0].data[0].path == tmp_path / "sub" / "labels.jsonl"
    assert recipe.tokenizer == tmp_path / "words"
    assert recipe.data[0].path == tmp_path / "more"
    assert missing_files(recipe) == sorted([tmp_path / "sub" / "labels.jsonl", tmp_path / "words"])


def test_the_root_of_media_is_taken_from_the_recipes_own_folder(tmp_path: Path) -> None:
    source = "data=[{path: a.json, format: llava_json, options: {media_root: clips}}]"
    path = tmp_path / "mine.yaml"
    path.write_text((RECIPES / "my-clips.yaml").read_text())
    (one,) = load_recipe(path, [source]).data
    assert one.options == {"media_root": str(tmp_path / "clips")}
    (other,) = load_recipe(path, [source.replace("clips", "/else")]).data
    assert other.options == {"media_root": "/else"}


def test_a_model_beside_the_recipe_is_a_path_and_another_name_stays_a_name(tmp_path: Path) -> None:
    text = re.sub(r"blueprint:\n(  .*\n)+", "start: mine\n", GOOD)
    assert load_recipe(write(tmp_path, text)).start == "mine"
    (tmp_path / "mine").mkdir()
    assert load_recipe(write(tmp_path, text)).start == str(tmp_path / "mine")


def test_overrides_change_values_anywhere(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, GOOD),
        [
            "stages.0.epochs=0.5",
            "stages.0.optimizer.rates.language=3e-4",
            "seed=7",
            "stages.0.data.0.types=[a]",
        ],
    )
    assert recipe.seed == 7
    assert recipe.stages[0].epochs == 0.5
    assert recipe.stages[0].optimizer.rates.language == 3e-4
    assert recipe.stages[0].data[0].types == ("a",)


def test_mistakes_of_overrides_are_named_by_the_override(tmp_path: Path) -> None:
    found = mistakes(write(tmp_path, GOOD), "stages.0.batching.clps=3", "stages.0.epochs=-1", "vocabulary=9")
    assert sorted(found) == [
        "override 'stages.0.batching.clps=3': stages.0.batching.clps: unknown key; did you mean 'clips'?",
        "override 'stages.0.epochs=-1': stages.0.epochs: Input should be greater than 0 (found -1)",
        "override 'vocabulary=9': vocabulary: Input should be greater than or equal to 257 (found 9)",
    ]


@pytest.mark.parametrize("text", ["seed", "stages.9.epochs=1", "stages.x=1", "name.deep.er=1", "seed=[1"])
def test_overrides_that_cannot_be_applied_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"override {text!r}")):
        load_recipe(write(tmp_path, GOOD), [text])


def test_a_key_may_not_stand_twice(tmp_path: Path) -> None:
    text = GOOD.replace("    epochs: 2\n", "    epochs: 2\n    batching:\n      clips: 2\n      clips: 3\n")
    with pytest.raises(ConfigError, match=r"recipe\.yaml:13: the key 'clips' stands here twice"):
        load_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is empty"),
        ("name: [", "is not valid YAML"),
        ("- a\n- b\n", "Input should be a valid dictionary"),
        ("? [a, b]\n: 1\n", "a key must be a word"),
        ("name: &a [*a]\n", "its aliases make it endless"),
        (
            "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
            "larger than any recipe",
        ),
        ("name: x\nstages: []\n", "stages: Tuple should have at least 1 item"),
        ("blueprint: 3\nstages: 4\nname: 5\n", "stages: Input should be a valid tuple"),
    ],
)
def test_text_that_is_no_recipe_is_refused(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(write(tmp_path, text))
    assert found in str(caught.value)


def test_a_recipe_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        load_recipe(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            ("    epochs: 2\n", ""),
            "line 7: stages.0: give one of `epochs`, `steps`, `samples`, `tokens`, `hours`",
        ),
        (
            ("    epochs: 2\n", "    epochs: 2\n    steps: 3\n"),
            "`hours`, and all but one of epochs, steps to null",
        ),
        (("name: run", "name: run\nstart: x"), "give either `start`"),
        (("name: run", "name: ../run"), "line 1: name: String should match pattern"),
        (
            ("    data:\n      - {path: labels.jsonl}\n", ""),
            "no `data`, neither in the recipe nor in the stages ['a']",
        ),
        (
            ("    epochs: 2\n", "    epochs: 2\n    train: {towers: full}\n    cache: {keep: features}\n"),
            "`cache.keep: features` needs `train.towers: frozen`",
        ),
        (
            ("    epochs: 2\n", "    epochs: 2\n    train: {connector: frozen, language: frozen}\n"),
            "line 11: stages.0.train: every part is frozen",
        ),
        (
            ("model_type: llama", "model_type: lama"),
            "no language model is called 'lama'; did you mean 'llama'?",
        ),
        (("model_type: llama, ", ""), "language.model_type: is required: one of transformers, such as llama"),
        (("hidden_size: 64", "hidden_size: wide"), "expected int, got str"),
        (("frame_vit, arch", "vidapt.none:Part, arch"), "cannot import 'vidapt.none'"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, change: tuple[str, str], found: str) -> None:
    assert change[0] in GOOD
    (only,) = mistakes(write(tmp_path, GOOD.replace(*change)))
    assert found in only


def test_stage_names_must_differ() -> None:
    stage = {"name": "a", "data": [{"path": "x"}], "steps": 1}
    with pytest.raises(ValidationError, match="stage names must differ"):
        Recipe.model_validate({"name": "run", "blueprint": blueprint(), "stages": [stage, stage]})


def test_a_recipes_fingerprint_follows_its_meaning() -> None:
    def mark(**changes: object) -> str:
        stage = {"name": "a", "data": [{"path": "x"}], "steps": 1, **changes}
        given = {"name": "run", "blueprint": blueprint(), "stages": [stage]}
        return Recipe.model_validate(given).fingerprint

    assert mark() == mark(precision="float32")
    assert mark() != mark(precision="bfloat16")
    assert mark(train={"towers": "full"}) == mark(train=Trained(towers="full").model_dump())


@pytest.mark.parametrize(
    "module", ["vidapt", "vidapt.recipe", "vidapt.parts", "vidapt.nouns", "vidapt.errors"]
)
def test_importing_the_ground_floors_imports_neither_torch_nor_transformers(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'transformers', 'peft'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_a_recipe_without_a_blueprint_imports_no_torch(tmp_path: Path) -> None:
    text = re.sub(r"blueprint:\n(  .*\n)+", "start: mine\n", GOOD)
    code = f"""
import sys
from pathlib import Path
from vidapt.recipe import load_recipe
load_recipe(Path({str(write(tmp_path, text))!r}))
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
