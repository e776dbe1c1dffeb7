"""Folders of InternVL and SmolVLM2: every published layout and spelling, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import internvl_tools as internvl
import minicpm_tools as minicpm
import modern_tools as modern
import parity_tools as tools
import pytest
import smolvlm_tools as smolvlm
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError
from vidapt.hub import internvl as family
from vidapt.hub import open_checkpoint
from vidapt.hub import smolvlm as small
from vidapt.hub._translate import translate, translate_back
from vidapt.inference.load import load
from vidapt.loading import export_model
from vidapt.nouns import Clip
from vidapt.video import Every, Uniform, decode, write_mp4

AUTHORS = {"architectures": ["InternVLChatModel"], "template": "internvl2_5"}

Change = Callable[[dict[str, Any]], None]


def rewritten(folder: Path, name: Callable[[str], str]) -> Path:
    """The same weights under other names."""
    file = folder / "model.safetensors"
    state = {name(key): tensor for key, tensor in load_file(file).items()}
    save_file(state, file, metadata={"format": "pt"})
    return folder


def edited(folder: Path, file: str, change: Change) -> Path:
    told = json.loads((folder / file).read_text())
    change(told)
    (folder / file).write_text(json.dumps(told))
    return folder


def of_2025(key: str) -> str:
    """As the hub's files of 2025 call it, whichever transformers wrote it."""
    key = key.removeprefix("model.")
    if key.startswith("language_model.") and not key.startswith(
        ("language_model.model.", "language_model.lm")
    ):
        key = key.replace("language_model.", "language_model.model.", 1)
    return f"language_model.{key}" if key.startswith("lm_head") else key


def in_memory(key: str) -> str:
    key = of_2025(key)
    if key.startswith("language_model.lm_head"):
        return key.removeprefix("language_model.")
    return "model." + key.replace("language_model.model.", "language_model.", 1)


@pytest.mark.parametrize("name", [of_2025, in_memory])
def test_layouts_of_the_hub_are_one_model(name: Callable[[str], str], tmp_path: Path) -> None:
    oracle = internvl.oracle_of()
    expected = open_checkpoint(internvl.save(oracle, tmp_path / "a"))[0].state_dict()
    model, _, report = open_checkpoint(rewritten(internvl.save(oracle, tmp_path / "b"), name))
    assert not report.ignored
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings(tied: bool, tmp_path: Path) -> None:
    for module, other in ((internvl, {}), (smolvlm, {})):
        oracle = module.oracle_of(tie_word_embeddings=tied, **other)
        oracle.config.text_config.tie_word_embeddings = tied
        oracle.tie_weights()
        folder = module.save(oracle, tmp_path / f"{module.__name__}")
        model, tokenizer, _ = open_checkpoint(folder)
        clips = [module.STILL]
        (found,) = modern.our_logits(model, [modern.ours(model, tokenizer, clips, module.slot_of(tokenizer))])
        expected = module.read(model, tokenizer, clips).logits(oracle, len(found))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_authors_names_are_translated_both_ways() -> None:
    theirs = internvl.authors_state(internvl.oracle_of())
    ours = translate("internvl", theirs)
    assert not [key for key in ours if "qkv" in key]
    back = family.to_authors(ours)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in back.items())
    assert translate("internvl", translate_back("internvl", ours)).keys() == ours.keys()


def test_an_export_of_the_authors_folder_is_theirs(tmp_path: Path) -> None:
    folder = internvl.save_authors(internvl.oracle_of(), tmp_path / "a")
    export_model(folder, tmp_path / "out", to="hf", dtype="float32")
    held, written = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "out"))
    assert held.keys() == written.keys()
    assert all(torch.equal(tensor, written[key]) for key, tensor in held.items())


@pytest.mark.parametrize("module", [internvl, smolvlm])
def test_an_export_gives_transformers_the_same_logits(module: Any, tmp_path: Path) -> None:
    oracle = module.oracle_of()
    export_model(module.save(oracle, tmp_path / "a"), tmp_path / "out", to="hf", dtype="float32")
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    model, tokenizer, _ = open_checkpoint(tmp_path / "out")
    theirs = module.read(model, tokenizer, [module.VIDEO])
    torch.testing.assert_close(theirs.logits(again, 5), theirs.logits(oracle, 5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "video_preprocessor_config.json"])
def test_processors_of_one_file_or_two_say_the_same(name: str, tmp_path: Path) -> None:
    """Files of 2026 hold all processors in one."""
    folder = internvl.save(internvl.oracle_of(), tmp_path)
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"num_frames": 5}))
    usual = open_checkpoint(folder)[0].blueprint
    assert usual.frames == Uniform(count=5, at="midpoints", pad=False)
    kind = "video_processor" if name.startswith("video") else "image_processor"
    united = {kind: json.loads((folder / name).read_text())}
    (folder / "processor_config.json").write_text(json.dumps(united))
    (folder / name).unlink()
    assert open_checkpoint(folder)[0].blueprint == usual


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"downsample_ratio": 0.3}, "downsample_ratio is 0.3"),
        ({"projector_hidden_act": "relu"}, "projector of 'relu'"),
        ({"vision_feature_layer": [1, 2]}, r"layer \[1, 2\]"),
        ({"vision_config": None}, "no `vision_config`"),
        ({"text_config": {"model_type": "qwen3_moe"}}, "hold every expert apart"),
        ({**AUTHORS, "template": "Hermes-2"}, "template is 'Hermes-2'"),
        ({**AUTHORS, "ps_version": "v1"}, "ps_version is 'v1'"),
        ({**AUTHORS, "pad2square": True}, "pad2square is True"),
        (AUTHORS, "no `llm_config`"),
    ],
)
def test_what_no_part_offers_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    config = internvl.oracle_of().config.to_dict() | changes
    with pytest.raises(CheckpointError, match=message):  # noqa: PT012 - either may refuse
        family.habit(config)
        family.blueprint(config, tmp_path)


def test_stills_of_another_size_than_the_towers_are_refused(tmp_path: Path) -> None:
    folder = internvl.save(internvl.oracle_of(), tmp_path / "a")
    edited(folder, "preprocessor_config.json", lambda told: told.update(size={"height": 384, "width": 384}))
    with pytest.raises(CheckpointError, match=r"stills of \[384\] pixels are prepared for a tower of 28"):
        open_checkpoint(folder)
    folder = smolvlm.save(smolvlm.oracle_of(), tmp_path / "b")
    edited(folder, "preprocessor_config.json", lambda told: told.update(max_image_size={"longest_edge": 48}))
    with pytest.raises(CheckpointError, match="tiles of 48 pixels for a tower of 36"):
        open_checkpoint(folder)


def test_smolvlm_without_tiles_and_with_other_filters(tmp_path: Path) -> None:
    folder = smolvlm.save(smolvlm.oracle_of(), tmp_path)
    edited(folder, "preprocessor_config.json", lambda told: told.update(do_image_splitting=False, resample=3))
    blueprint = small.blueprint(json.loads((folder / "config.json").read_text()), folder)
    assert (blueprint.resolution["most"], blueprint.resolution["filter"]) == (1, "bicubic")
    assert isinstance(blueprint.frames, Every)
    edited(folder, "preprocessor_config.json", lambda told: told.update(resample=0))
    with pytest.raises(CheckpointError, match="resample 0"):
        open_checkpoint(folder)


def plain(text: str) -> str:
    """Without control characters, which are shown as escapes or left out."""
    return re.sub(r"\\x[0-9a-f]{2}|\\[nrt]|[^\w]", "", text)


@pytest.mark.parametrize("module", [internvl, smolvlm, minicpm])
def test_answers_about_a_film_are_the_originals(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modern, "RATE", 1.0)
    oracle = module.oracle_of()
    folder = module.save(oracle, tmp_path / "model")
    (tmp_path / "clips").mkdir()
    film = tmp_path / "clips" / "a.mp4"
    write_mp4(film, tools.film(8, 48, 80).numpy(), rate=1)
    engine = load(folder)
    frames = decode(Clip("a", film), engine.model.blueprint.frames)
    assert frames.moments.seconds == tuple(range(8))
    theirs = module.read(engine.model, engine.tokenizer, [torch.from_numpy(frames.pixels)])
    expected = engine.tokenizer.decode(theirs.write(oracle, 6), skip_special_tokens=True).strip()
    assert expected
    assert engine.ask(film, modern.QUESTION, max_new_tokens=6) == expected
    asked = [modern.QUESTION, "--model", str(folder), "--max-tokens", "6"]
    result = CliRunner().invoke(app, ["ask", str(film), *asked])
    assert result.exit_code == 0, result.output
    assert plain(result.output).endswith(plain(expected))
    out = tmp_path / "captions.jsonl"
    told = ["--prompt", modern.QUESTION, "--model", str(folder), "--max-tokens", "6", "--out", str(out)]
    result = CliRunner().invoke(app, ["caption", str(film.parent), *told, "--workers", "0"])
    assert result.exit_code == 0, result.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert plain(row["caption"]) == plain(expected)
