"""Parts outside vidapt: a recipe's are imported, a model folder's only if somebody imported them before."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from align_tools import dual
from training_tools import blueprint, recipe, stage, tokenizer, trained, video_lm, write_clips
from typer.testing import CliRunner

import vidapt
from vidapt.cli import app
from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import open_dual_encoder
from vidapt.loading import open_model
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.models.folder import save_model
from vidapt.parts import find
from vidapt.recipe import DualBlueprint, load_recipe
from vidapt.training.align.ends import read_recipe
from vidapt.training.run import train

OWN = """\
from pathlib import Path
from vidapt.positions.rope1d import Part as Plain

Path(__file__).with_suffix(".ran").touch()


class Part(Plain):
    class Config(Plain.Config):
        name: str = "mine"


class NoConfig:
    pass


class OtherConfig:
    class Config:
        pass


def function():
    pass
"""
MODULE = "a_part_of_my_own"
KIND = f"{MODULE}:Part"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module on the path that nobody has imported; the file that tells that its code ran."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield folder / f"{MODULE}.ran"
    sys.modules.pop(MODULE, None)


def changed(folder: Path, file: str, *place: str | int, kind: str) -> Path:
    """The folder, in whose description one part is now another."""
    described = json.loads((folder / file).read_text(encoding="utf-8"))
    spec: Any = described
    for key in place:
        spec = spec[key]
    spec["kind"] = kind
    (folder / file).write_text(json.dumps(described), encoding="utf-8")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", video_lm(scenes={"image": {"kind": "pad"}}), tokenizer(), {})
    return tmp_path / "model"


@pytest.mark.parametrize(
    "place", [("towers", 0), ("connector",), ("resolution",), ("scenes", "image"), ("positions",)]
)
def test_opening_a_model_imports_none_of_its_parts(model: Path, own: Path, place: tuple[str | int]) -> None:
    changed(model, "blueprint.json", *place, kind=KIND)
    with pytest.raises(
        CheckpointError, match=r"blueprint\.json: names a part .*'a_part_of_my_own:Part'"
    ) as told:
        vidapt.load(model)
    assert f"import {MODULE}" in told.value.remedy
    assert f"vidapt --trust {MODULE}" in told.value.remedy
    assert MODULE not in sys.modules
    assert not own.exists()


@pytest.mark.parametrize("place", ["tower", "resolution"])
def test_opening_a_dual_encoder_imports_none_of_its_parts(tmp_path: Path, own: Path, place: str) -> None:
    given = dual()
    given["text"]["arch"]["vocab_size"] = 270
    save_dual(tmp_path / "model", DualEncoder(DualBlueprint.model_validate(given)), None, {})
    open_dual_encoder(tmp_path / "model")
    changed(tmp_path / "model", "dual.json", place, kind=KIND)
    with pytest.raises(CheckpointError, match=r"dual\.json: names a part"):
        open_dual_encoder(tmp_path / "model")
    assert not own.exists()


def test_reading_the_recipe_of_a_run_imports_no_format(tmp_path: Path, own: Path) -> None:
    plan = recipe(stage(tmp_path / "labels.jsonl"))
    source = plan.stages[0].data[0].model_copy(update={"format": KIND})
    bad = plan.model_copy(update={"stages": (plan.stages[0].model_copy(update={"data": (source,)}),)})
    (tmp_path / "recipe.json").write_text(bad.model_dump_json(), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"recipe\.json: names a part"):
        read_recipe(tmp_path)
    assert not own.exists()


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("this:Part", "names a part that is not vidapt's, 'this:Part'"),
        ("a.b:C", "names a part that is not vidapt's, 'a.b:C'"),
        (":Part", "names a part that is not vidapt's, ':Part'"),
        ("subprocess:Popen", "names 'subprocess:Popen', which is no part"),
        ("json:JSONDecoder", "names 'json:JSONDecoder', which is no part"),
        ("vidapt:load", "names 'vidapt:load', which is no part"),
    ],
)
def test_a_command_tells_of_a_part_that_it_will_not_take(model: Path, kind: str, found: str) -> None:
    changed(model, "blueprint.json", "positions", kind=kind)
    done = CliRunner().invoke(app, ["ask", "clip.mp4", "what is it?", "--model", str(model)])
    assert done.exit_code == 2
    assert found in done.output
    assert "this" not in sys.modules


def test_a_field_that_no_part_knows_is_told_with_its_file(model: Path) -> None:
    described = json.loads((model / "blueprint.json").read_text(encoding="utf-8"))
    described["connector"]["no_such_field"] = 1
    (model / "blueprint.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"(?s)blueprint\.json: is not a blueprint: .*no_such_field"):
        open_model(model)


def test_who_imported_the_module_can_open_the_model(model: Path, own: Path) -> None:
    changed(model, "blueprint.json", "positions", kind=KIND)
    __import__(MODULE)
    opened, _ = open_model(model)
    assert type(opened.positions).__module__ == MODULE
    assert opened.positions.cfg.name == "mine"


def test_a_command_opens_a_model_whose_module_is_trusted(model: Path, tmp_path: Path, own: Path) -> None:
    write_clips(tmp_path / "clips", clips=1)
    changed(model, "blueprint.json", "positions", kind=KIND)
    asked = [
        "ask",
        str(tmp_path / "clips" / "0.mp4"),
        "what is it?",
        "--model",
        str(model),
        "--max-tokens",
        "2",
    ]
    assert CliRunner().invoke(app, asked).exit_code == 2
    done = CliRunner().invoke(app, ["--trust", MODULE, *asked])
    assert done.exit_code == 0, done.output


def test_a_module_that_cannot_be_trusted_is_told() -> None:
    done = CliRunner().invoke(app, ["--trust", "no_such_module", "families"])
    assert done.exit_code == 2
    assert "cannot import 'no_such_module'" in done.output
    assert "PYTHONPATH" in done.output


@pytest.mark.parametrize("name", ["NoConfig", "OtherConfig", "function", "Path", "nothing", ""])
def test_what_a_recipe_names_must_be_a_part(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{MODULE}:{name}' is no part") as told:
        find("positions", f"{MODULE}:{name}")
    assert "PartConfig" in told.value.remedy


@pytest.mark.parametrize("module", ["", ".relative", "no_such_module", "no.such.module"])
def test_a_module_that_is_not_there_is_told(module: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot import '{module}'"):
        find("positions", f"{module}:Part")


def test_a_mistake_in_a_part_of_ones_own_is_told_with_its_line(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips")
    text = json.dumps(recipe_of(tmp_path, positions={"kind": f"{MODULE}:NoConfig"}), indent=1)
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line \d+: blueprint\.positions\.kind: .* is no part"):
        load_recipe(tmp_path / "recipe.yaml")


def recipe_of(folder: Path, **changes: Any) -> dict[str, Any]:
    stages = [stage(folder / "clips" / "labels.jsonl", name, steps=1) for name in "ab"]
    return {"name": "run", "vocabulary": 300, "blueprint": blueprint(**changes), "stages": stages}


def test_a_recipe_with_a_part_of_ones_own_trains_saves_resumes_and_captions(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips")
    described = recipe_of(tmp_path, positions={"kind": KIND, "name": "yours"})
    plan = recipe(*described["stages"], blueprint=described["blueprint"])

    def stop(task: str, done: int, total: int, note: str = "") -> None:
        if task == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "runs", stop, workers=0)
    del sys.modules[MODULE]  # as in a new process
    with pytest.raises(CheckpointError, match="names a part"):
        vidapt.load(tmp_path / "runs" / "run")
    assert trained(plan, tmp_path / "runs", resume=True)
    engine = vidapt.load(tmp_path / "runs" / "run")
    assert engine.model.positions.cfg.name == "yours"
    assert isinstance(engine.caption(tmp_path / "clips" / "0.mp4"), str)
