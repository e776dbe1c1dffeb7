"""Folders that others wrote, damaged or edited: one message, never a crash, a hang or another model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compose_refusal_tools import copied, edit, plan, refused
from training_tools import blueprint, recipe, silent, stage, tokenizer, write_clips

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import open_dual_encoder
from vidapt.inference.engine import Engine
from vidapt.loading import export_model
from vidapt.models.folder import save_model
from vidapt.models.origin import Origin
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint
from vidapt.training.run import train

Made = Callable[..., list[str]]


@pytest.mark.parametrize("named", [["a"], {"a": 1}, 5, None, "../outside.safetensors", ".."])
def test_an_index_may_name_anything(made: Made, tmp_path: Path, named: Any) -> None:
    words = copied(made("llama")[0], tmp_path)
    index = words / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    told["weight_map"][next(iter(told["weight_map"]))] = named
    index.write_text(json.dumps(told))
    said = refused([{"weights": made("clip")[0]}], {"weights": str(words)})
    assert "shards are .safetensors files beside the index" in said


def test_more_layers_than_any_model_has_are_not_made(made: Made, tmp_path: Path) -> None:
    eyes, words = made("dinov2", "llama")
    many = copied(words, tmp_path)
    edit(many / "config.json", num_hidden_layers=10**9)
    with pytest.raises(ConfigError, match=r"json.num_hidden_layers: is 1000000000; .*more than 1000"):
        plan([{"weights": eyes}], {"weights": str(many)})
    many = copied(eyes, tmp_path)
    edit(many / "config.json", num_hidden_layers=10**30)
    found = refused([{"weights": str(many)}], {"weights": words})
    assert "config.json.num_hidden_layers: is 1000" in found
    own = blueprint(language={"num_hidden_layers": 10**9})
    with pytest.raises(ConfigError, match="no model has more than 1000"):
        VideoLM(Blueprint.model_validate(own))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": -1}, "RuntimeError"),
        ({"num_attention_heads": 0}, "ZeroDivisionError"),
        ({"patch_size": [1]}, "IndexError"),
        ({"hidden_act": "x"}, "KeyError: 'x'"),
        ({"image_size": 10**30}, "Error"),
    ],
)
def test_a_tower_that_cannot_be_made_is_told_with_its_place(
    made: Made, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    eyes, words = made("dinov2", "llama")
    odd = copied(eyes, tmp_path)
    edit(odd / "config.json", **change)
    found = refused([{"weights": str(odd)}], {"weights": words})
    assert "recipe: 1 mistake(s)" in found
    assert "blueprint.towers.0.weights: towers.arch: cannot be made: " in found
    assert said in found


def test_a_field_of_a_wrong_kind_is_told_with_its_value(made: Made, tmp_path: Path) -> None:
    odd = copied(made("llama")[0], tmp_path)
    edit(odd / "config.json", hidden_size="x")
    found = refused([{"weights": made("clip")[0]}], {"weights": str(odd)})
    assert "Field 'hidden_size' expected int, got str (value: 'x')" in found


def test_quantised_weights_of_an_authors_file_are_refused(made: Made, tmp_path: Path) -> None:
    state = torch.load(made("long_clip.pt")[0])
    torch.save({name: tensor.to(torch.float8_e4m3fn) for name, tensor in state.items()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"holds torch\.float8_e4m3fn\n.*quantised"):
        open_dual_encoder(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["tokenizer_config.json", "chat_template.json"])
def test_a_link_that_leads_nowhere_is_not_passed_over(made: Made, tmp_path: Path, name: str) -> None:
    words = copied(made("llama")[0], tmp_path)
    (words / name).unlink(missing_ok=True)
    (words / name).symlink_to(tmp_path / "gone")
    assert "there is no such file" in refused([{"weights": made("clip")[0]}], {"weights": str(words)})


def test_a_resolution_gives_a_connector_as_many_maps_as_it_reads(made: Made) -> None:
    eyes, words = made("clip", "llama")
    for kind in ("global_local", "patch_mining"):
        with pytest.raises(ConfigError, match="resolution: does not go with these towers and this conn"):
            plan([{"weights": eyes}] * 2, {"weights": words}, {"kind": kind})
    with pytest.raises(ConfigError, match="resolution: does not go with these towers and this conn"):
        plan([{"weights": eyes}], {"weights": words}, resolution={"kind": "both"})


# A run that is resumed


def begun(made: Made, tmp_path: Path) -> tuple[Path, Any]:
    """The folder of a run's sources, and what goes on with the run, which was stopped in its first stage."""
    place = tmp_path / "sources"
    place.mkdir()
    eyes, words = (copied(source, place) for source in made("clip", "llama"))
    parts = {"towers": [{"weights": str(eyes)}], "language": {"weights": str(words)}}
    given = {**parts, "connector": {"kind": "pool_mlp"}, "frames": {"policy": "uniform", "count": 2}}
    labels = write_clips(tmp_path / "clips", clips=2, questions=1)
    what = recipe(stage(labels, steps=4, save_every=1), blueprint=given)

    def stop(task: str, done: int, total: int, note: str = "") -> None:
        if task == "a" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(what, tmp_path / "runs", stop, workers=0)
    return place, lambda: train(what, tmp_path / "runs", silent, workers=0, resume=True)


def other_words(folder: Path) -> None:
    told = json.loads((folder / "llama" / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    one, other = sorted(words, key=words.get)[-2:]
    words[one], words[other] = words[other], words[one]
    (folder / "llama" / "tokenizer.json").write_text(json.dumps(told))


CHANGES: dict[str, Callable[[Path], object]] = {
    "prompt": lambda folder: (folder / "llama" / "chat_template.jinja").unlink(),
    "tokenizer": other_words,
    "norm": lambda folder: edit(folder / "llama" / "config.json", rms_norm_eps=0.5),
    "pixels": lambda folder: edit(folder / "clip" / "preprocessor_config.json", image_mean=[0.1] * 3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_does_not_go_on_as_another_model(made: Made, tmp_path: Path, name: str) -> None:
    folder, go_on = begun(made, tmp_path)
    CHANGES[name](folder)
    with pytest.raises(ConfigError, match="changed since it began: configurations, prompt or tokenizer"):
        go_on()


def test_a_run_goes_on_whose_sources_are_the_same(made: Made, tmp_path: Path) -> None:
    _, go_on = begun(made, tmp_path)
    assert (go_on() / "01-a" / "model").is_dir()


def test_what_a_run_began_with_may_be_damaged(made: Made, tmp_path: Path) -> None:
    _, go_on = begun(made, tmp_path)
    file = tmp_path / "runs" / "run" / "load_report.json"
    for text in ("", "[]", "{}", '{"sources": [5]}', '{"sources": null}', "[" * 100_000):
        file.write_text(text)
        with pytest.raises(CheckpointError, match="is damaged, and tells what the run began with"):
            go_on()
    run = tmp_path / "runs" / "run" / "run.json"
    run.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="is damaged"):
        go_on()


# What ends an answer


def engine(told: str) -> Engine:
    model = VideoLM(Blueprint.model_validate(blueprint()))
    model.origin = Origin("llava", {"generation_config.json": told.encode()})
    return Engine(model, tokenizer(), "m")


@pytest.mark.parametrize("ids", ['"</s>"', "true", "2.0", "[[1]]", '{"a": 1}', '[2, "x"]'])
def test_what_ends_an_answer_is_a_token(ids: str) -> None:
    with pytest.raises(CheckpointError, match="eos_token_id is "):
        engine(f'{{"eos_token_id": {ids}}}')


def test_what_ends_an_answer_may_be_several_tokens_or_none_that_is_known() -> None:
    assert {7, 9} <= set(engine('{"eos_token_id": [7, 9]}').stops)
    assert engine('{"eos_token_id": [1000000000000000000000, -1]}').stops == engine("{}").stops


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_a_damaged_file_of_what_was_published(text: str) -> None:
    with pytest.raises(CheckpointError, match="as it was published, cannot be read"):
        engine(text)


@pytest.mark.parametrize("about", [{"family": "nope"}, {"files": []}])
def test_what_is_not_known_to_be_published_is_not_written_so(tmp_path: Path, about: dict[str, Any]) -> None:
    model = VideoLM(Blueprint.model_validate(blueprint()))
    model.origin = Origin("llava", {"config.json": b"{}"})
    save_model(tmp_path / "m", model, tokenizer(), {})
    edit(tmp_path / "m" / "published" / "origin.json", **about)
    with pytest.raises(CheckpointError, match="beneath this model was published is not known"):
        export_model(tmp_path / "m", tmp_path / "out", to="hf", dtype="float32")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_description_of_gigabytes_is_not_read(made: Made, tmp_path: Path, name: str) -> None:
    words = copied(made("llama")[0], tmp_path)
    with (words / name).open("wb") as file:
        file.truncate(2**36)  # without taking room
    assert "too many for such a file" in refused([{"weights": made("clip")[0]}], {"weights": str(words)})


def test_what_cannot_be_read_is_not_told_whole(made: Made, tmp_path: Path) -> None:
    words = copied(made("llama")[0], tmp_path)
    (words / "tokenizer.json").write_bytes(bytes([255]) * 100_000)
    said = refused([{"weights": made("clip")[0]}], {"weights": str(words)})
    assert "invalid start byte" in said
    assert len(said) < 2000


def test_a_file_of_noise_is_no_weights(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.pt", "a.bin"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 100)
        with pytest.raises(CheckpointError, match=name):
            open_dual_encoder(tmp_path / name)
